import type { z } from "zod";
import { describe, expected, UsageError } from "./errors.js";

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
  const what = issue.message.replace(/^Invalid input: expected /, "").replace(/, received .*$/, "");
  throw new UsageError(`Expected ${what} for ${path ? `${name} ${path}` : name} but received ${describe(received)}`, {
    code: "INVALID_OPTION",
    hint: `Check the options of ${name}${path ? `, field "${path}"` : ""}.`,
    cause: result.error,
  });
}
