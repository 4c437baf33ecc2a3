import { type Attack, file, tensor } from "../helpers.js";

/** Shapes whose product overflows, or does not fill the range it claims. */
export const attacks: Attack[] = [
  {
    name: "a product of 2^64 that wraps to 0",
    code: "SAFETENSORS_SHAPE",
    bytes: file({ a: tensor("U8", [2 ** 32, 2 ** 32], 0, 0) }),
  },
  {
    name: "a product that wraps to 4",
    code: "SAFETENSORS_SHAPE",
    bytes: file({ a: tensor("U8", [2 ** 32, 2 ** 32, 4], 0, 4) }, 4),
  },
  {
    name: "an overflow before a zero",
    code: "SAFETENSORS_SHAPE",
    bytes: file({ a: tensor("U8", [2 ** 40, 2 ** 40, 0], 0, 0) }),
  },
  { name: "bytes that overflow", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("F64", [2 ** 52], 0, 0) }) },
  { name: "more than its range", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("F32", [2], 0, 4) }, 4) },
  { name: "less than its range", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("F32", [1], 0, 8) }, 8) },
  { name: "a dtype of another width", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("F16", [2], 0, 8) }, 8) },
  { name: "half an element", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("F32", [1], 0, 6) }, 6) },
  {
    name: "elements of four bits that fill half a byte",
    code: "SAFETENSORS_SHAPE",
    bytes: file({ a: tensor("F4", [3], 0, 2) }, 2),
  },
  { name: "rank 0 with two elements", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("F32", [], 0, 8) }, 8) },
  { name: "a negative size", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("U8", [-1, -4], 0, 4) }, 4) },
  { name: "a broken size", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("U8", [0.5, 8], 0, 4) }, 4) },
  { name: "a shape that is a number", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("U8", 4, 0, 4) }, 4) },
  { name: "a shape of text", code: "SAFETENSORS_SHAPE", bytes: file({ a: tensor("U8", ["4"], 0, 4) }, 4) },
];
