import { type Attack, file, tensor } from "../helpers.js";

const one = { a: tensor("U8", [4], 0, 4) };

/** The eight bytes in front promise more than there is, or more than anybody should hold in memory. */
export const attacks: Attack[] = [
  { name: "longer than the file", code: "SAFETENSORS_HEADER_TOO_LONG", bytes: file(one, 4, 5000n) },
  { name: "one byte longer than the file", code: "SAFETENSORS_HEADER_TOO_LONG", bytes: file("{}", 0, 3n) },
  { name: "2^64 - 1", code: "SAFETENSORS_HEADER_TOO_LONG", bytes: file(one, 4, 2n ** 64n - 1n) },
  { name: "2^63, negative when signed", code: "SAFETENSORS_HEADER_TOO_LONG", bytes: file(one, 4, 2n ** 63n) },
  {
    name: "longer than the limit",
    code: "SAFETENSORS_HEADER_TOO_LONG",
    bytes: file(JSON.stringify(one).padEnd(2000)),
    limits: { maxHeaderBytes: 1999 },
  },
  { name: "zero", code: "SAFETENSORS_HEADER", bytes: file("", 4) },
  { name: "a file of seven bytes", code: "SAFETENSORS_TRUNCATED", bytes: new Uint8Array(7) },
];
