import type { z } from "zod";
import { expected, UsageError } from "./errors.js";

/**
 * Parses an options object at the border of the SDK. Throws `UsageError` (INVALID_OPTION) that names the first bad field.
 *
 * @param name what the options belong to, as the user wrote it: `video()`, `loadEncoder()`, `config.json`
 */
export function parseOptions<S extends z.ZodType>(schema: S, value: unknown, name: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const path = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    const known = path === "" && "shape" in schema ? Object.keys(schema.shape as object).join(", ") : "";
    throw new UsageError(expected("a known option", path ? `${name} ${path}` : name, issue.keys[0]), {
      code: "INVALID_OPTION",
      hint: known ? `The options of ${name} are ${known}.` : `Check the options of ${name}.`,
      cause: result.error,
    });
  }
  let received: unknown = value;
  for (const key of issue.path) received = (received as Record<PropertyKey, unknown> | undefined)?.[key];
  throw new UsageError(expected(wanted(issue), path ? `${name} ${path}` : name, received), {
    code: "INVALID_OPTION",
    hint: `Check the options of ${name}${path ? `, field "${path}"` : ""}.`,
    cause: result.error,
  });
}

const kinds: Record<string, string> = {
  int: "a whole number",
  number: "a number",
  string: "a string",
  boolean: "true or false",
};

/** What zod would have taken, as it reads behind "Expected". */
function wanted(issue: z.core.$ZodIssue): string {
  if (issue.code === "too_small" || issue.code === "too_big") {
    const [bound, least, most] =
      issue.code === "too_small" ? [issue.minimum, "at least", "more than"] : [issue.maximum, "at most", "less than"];
    const limit = `${issue.inclusive ? least : most} ${bound}`;
    if (issue.origin === "string") return `${limit} ${bound === 1 ? "character" : "characters"}`;
    if (issue.origin === "array" || issue.origin === "set") return `${limit} ${bound === 1 ? "entry" : "entries"}`;
    return `a number that is ${limit}`;
  }
  if (issue.code === "invalid_union") {
    // One with a fault deep inside is not said in a word.
    const choices = issue.errors.flatMap(([first]) => (first?.path.length === 0 ? [wanted(first)] : []));
    if (choices.length > 0) return [...new Set(choices)].join(" or ");
  }
  if (issue.code === "invalid_value" && issue.values.length === 1) return JSON.stringify(issue.values[0]);
  if (issue.code === "not_multiple_of") return `a multiple of ${issue.divisor}`;
  const what = issue.message.replace(/^Invalid (input|option): expected /, "").replace(/, received .*$/, "");
  return kinds[what] ?? what;
}
