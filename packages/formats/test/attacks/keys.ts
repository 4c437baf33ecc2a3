import { type Attack, file, tensor } from "../helpers.js";

const a = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}';
const b = '{"dtype":"U8","shape":[4],"data_offsets":[4,8]}';

/** Keys that JSON.parse takes in silence: two readers would see two different models, or a prototype would change. */
export const attacks: Attack[] = [
  { name: "a tensor twice", code: "JSON_DUPLICATE_KEY", bytes: file(`{"a":${a},"b":${b},"a":${a}}`, 8) },
  { name: "a tensor twice, once escaped", code: "JSON_DUPLICATE_KEY", bytes: file(`{"a":${a},"\\u0061":${b}}`, 8) },
  {
    name: "dtype twice",
    code: "JSON_DUPLICATE_KEY",
    bytes: file('{"a":{"dtype":"U8","dtype":"I32","shape":[4],"data_offsets":[0,4]}}', 4),
  },
  {
    name: "metadata twice",
    code: "JSON_DUPLICATE_KEY",
    bytes: file(`{"__metadata__":{},"a":${a},"__metadata__":{"x":"y"}}`, 4),
  },
  { name: "__proto__ as a tensor", code: "JSON_FORBIDDEN_KEY", bytes: file(`{"__proto__":${a}}`, 4) },
  { name: "__proto__ escaped", code: "JSON_FORBIDDEN_KEY", bytes: file(`{"\\u005f_proto__":${a}}`, 4) },
  {
    name: "__proto__ in metadata",
    code: "JSON_FORBIDDEN_KEY",
    bytes: file(`{"__metadata__":{"__proto__":"x"},"a":${a}}`, 4),
  },
  {
    name: "__proto__ in a tensor",
    code: "JSON_FORBIDDEN_KEY",
    bytes: file('{"a":{"__proto__":{},"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4),
  },
  {
    name: "a field that is none",
    code: "SAFETENSORS_HEADER",
    bytes: file({ a: { ...tensor("U8", [4], 0, 4), stride: 1 } }, 4),
  },
  { name: "metadata that is a list", code: "SAFETENSORS_HEADER", bytes: file({ __metadata__: [] }) },
  { name: "metadata of numbers", code: "SAFETENSORS_HEADER", bytes: file({ __metadata__: { a: 1 } }) },
  { name: "a tensor that is a number", code: "SAFETENSORS_HEADER", bytes: file({ a: 1 }) },
  { name: "a tensor that is null", code: "SAFETENSORS_HEADER", bytes: file({ a: null }) },
];
