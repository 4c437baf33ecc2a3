// What a user can mend is said in a line or two; anything else is a defect and keeps its stack.
import { KraitError } from "krait";

process.on("uncaughtException", (error) => {
  if (error.code === "EPIPE") process.exit(0); // the reader, say `head`, has seen enough
  if (KraitError.is(error)) console.error(error.hint ? `${error.message}\n${error.hint}` : error.message);
  else if (error.code?.startsWith("ERR_PARSE_ARGS")) console.error(error.message);
  else console.error(error);
  process.exit(error.kind === "aborted" ? 130 : 1);
});

/** Ends with a sentence and a remedy. */
export function refuse(what, name, received, remedy) {
  console.error(`Expected ${what} for ${name} but received ${received}\n${remedy}`);
  process.exit(2);
}
