import type { z } from "zod";
import { describe, UsageError } from "./errors.js";

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
  let received: unknown = value;
  for (const key of issue.path) received = (received as Record<PropertyKey, unknown> | undefined)?.[key];
  const what = issue.message.replace(/^Invalid input: expected /, "").replace(/, received .*$/, "");
  throw new UsageError(`Expected ${what} for ${path ? `${name} ${path}` : name} but received ${describe(received)}`, {
    code: "INVALID_OPTION",
    hint: `Check the options of ${name}${path ? `, field "${path}"` : ""}.`,
    cause: result.error,
  });
}
