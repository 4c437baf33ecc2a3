import { type Attack, file } from "../helpers.js";

/** Headers that are no JSON, or not the JSON of a header. */
export const attacks: Attack[] = [
  ...["{", "{}}", '{"a"', "{a:1}", "{'a':1}", "{}\0", '{"a":1,}', '{"a\\x":1}', '{"a":NaN}', '{"a\n":1}', '{"'].map(
    (header) => ({ name: `the header ${JSON.stringify(header)}`, code: "JSON_SYNTAX", bytes: file(header) }),
  ),
  ...["[]", "null", '"x"', " {}", "7"].map((header) => ({
    name: `the header ${JSON.stringify(header)}`,
    code: "SAFETENSORS_HEADER",
    bytes: file(header),
  })),
  { name: "nesting of a million", code: "JSON_TOO_DEEP", bytes: file(`{"a":${"[".repeat(1_000_000)}`) },
  { name: "nested objects", code: "JSON_TOO_DEEP", bytes: file(`${'{"a":'.repeat(5000)}1${"}".repeat(5000)}`) },
];
