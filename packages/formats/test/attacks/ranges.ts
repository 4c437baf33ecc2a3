import { type Attack, file, tensor } from "../helpers.js";

/** Ranges that share bytes, leave bytes to hide something in, or leave the file. */
export const attacks: Attack[] = [
  {
    name: "two tensors on the same bytes",
    code: "SAFETENSORS_OVERLAP",
    bytes: file({ a: tensor("U8", [4], 0, 4), b: tensor("U8", [4], 0, 4) }, 4),
  },
  {
    name: "overlap by one byte",
    code: "SAFETENSORS_OVERLAP",
    bytes: file({ a: tensor("U8", [4], 0, 4), b: tensor("U8", [4], 3, 7) }, 7),
  },
  {
    name: "one inside another",
    code: "SAFETENSORS_OVERLAP",
    bytes: file({ a: tensor("U8", [8], 0, 8), b: tensor("U8", [2], 2, 4) }, 8),
  },
  {
    name: "an empty tensor inside another",
    code: "SAFETENSORS_OVERLAP",
    bytes: file({ a: tensor("U8", [8], 0, 8), b: tensor("U8", [0], 4, 4) }, 8),
  },
  {
    name: "a hole between tensors",
    code: "SAFETENSORS_HOLE",
    bytes: file({ a: tensor("U8", [4], 0, 4), b: tensor("U8", [4], 5, 9) }, 9),
  },
  { name: "a hole before the first", code: "SAFETENSORS_HOLE", bytes: file({ a: tensor("U8", [4], 1, 5) }, 5) },
  { name: "bytes behind the last", code: "SAFETENSORS_TRAILING_BYTES", bytes: file({ a: tensor("U8", [4], 0, 4) }, 5) },
  { name: "bytes and no tensor", code: "SAFETENSORS_TRAILING_BYTES", bytes: file("{}", 1) },
  { name: "an end past the file", code: "SAFETENSORS_OFFSETS", bytes: file({ a: tensor("U8", [5], 0, 5) }, 4) },
  {
    name: "an end of a petabyte",
    code: "SAFETENSORS_OFFSETS",
    bytes: file({ a: tensor("U8", [2 ** 50], 0, 2 ** 50) }, 4),
  },
  { name: "an end before the begin", code: "SAFETENSORS_OFFSETS", bytes: file({ a: tensor("U8", [4], 4, 0) }, 4) },
  { name: "a negative begin", code: "SAFETENSORS_OFFSETS", bytes: file({ a: tensor("U8", [4], -4, 0) }, 4) },
  { name: "half a byte", code: "SAFETENSORS_OFFSETS", bytes: file({ a: tensor("U8", [4], 0.5, 4.5) }, 4) },
  {
    name: "an offset beyond 2^53",
    code: "SAFETENSORS_OFFSETS",
    bytes: file('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,9007199254740993]}}', 4),
  },
  {
    name: "an offset of 1e999",
    code: "SAFETENSORS_OFFSETS",
    bytes: file('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,1e999]}}', 4),
  },
  {
    name: "three offsets",
    code: "SAFETENSORS_OFFSETS",
    bytes: file({ a: { dtype: "U8", shape: [4], data_offsets: [0, 4, 4] } }, 4),
  },
  { name: "offsets as text", code: "SAFETENSORS_OFFSETS", bytes: file({ a: tensor("U8", [4], "0", "4") }, 4) },
  { name: "no offsets", code: "SAFETENSORS_OFFSETS", bytes: file({ a: { dtype: "U8", shape: [4] } }, 4) },
];
