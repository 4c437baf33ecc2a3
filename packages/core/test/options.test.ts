import { expect, it } from "vitest";
import { z } from "zod";
import { KraitError, parseOptions } from "../src/index.js";

const schema = z.strictObject({
  rate: z.number().positive().max(10).optional(),
  count: z.int().min(2).optional(),
  even: z.number().multipleOf(2).optional(),
  fit: z.enum(["cover", "contain"]).optional(),
  name: z.string().min(1).max(3).optional(),
  times: z.array(z.number()).min(1).max(2).optional(),
  pool: z.union([z.literal("token"), z.number().min(1)]).optional(),
  signal: z.instanceof(AbortSignal).optional(),
  inner: z.strictObject({ deep: z.boolean() }).optional(),
});

it.each<[unknown, string]>([
  [{ rate: 0 }, "Expected a number that is more than 0 for encode() rate but received 0"],
  [{ rate: 11 }, "Expected a number that is at most 10 for encode() rate but received 11"],
  [{ rate: "5" }, 'Expected a number for encode() rate but received "5"'],
  [{ rate: Number.NaN }, "Expected a number for encode() rate but received NaN"],
  [{ count: 1 }, "Expected a number that is at least 2 for encode() count but received 1"],
  [{ count: 2.5 }, "Expected a whole number for encode() count but received 2.5"],
  [{ even: 3 }, "Expected a multiple of 2 for encode() even but received 3"],
  [{ fit: "fill" }, 'Expected one of "cover"|"contain" for encode() fit but received "fill"'],
  [{ name: "" }, 'Expected at least 1 character for encode() name but received ""'],
  [{ name: "long" }, 'Expected at most 3 characters for encode() name but received "long"'],
  [{ times: [] }, "Expected at least 1 entry for encode() times but received []"],
  [{ times: [1, 2, 3] }, "Expected at most 2 entries for encode() times but received [1, 2, 3]"],
  [{ times: [1, "2"] }, 'Expected a number for encode() times.1 but received "2"'],
  [{ signal: 1 }, "Expected AbortSignal for encode() signal but received 1"],
  [{ inner: { deep: 1 } }, "Expected true or false for encode() inner.deep but received 1"],
  [{ pool: "x" }, 'Expected "token" or a number for encode() pool but received "x"'],
  [{ pool: 0 }, "Expected a number that is at least 1 for encode() pool but received 0"],
  [{ raet: 1 }, 'Expected a known option for encode() but received "raet"'],
  [3, "Expected object for encode() but received 3"],
])("parseOptions(%j) says: %s", (value, message) => {
  let error: unknown;
  try {
    parseOptions(schema, value, "encode()");
  } catch (thrown) {
    error = thrown;
  }
  expect(KraitError.is(error) && [error.kind, error.code, error.message]).toEqual(["usage", "INVALID_OPTION", message]);
});
