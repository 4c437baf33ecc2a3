import { type Attack, file, tensor } from "../helpers.js";

const many = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`t${i}`, tensor("U8", [0], 0, 0)]));

/** A header that is all names. */
export const attacks: Attack[] = [
  {
    name: "one more than the limit",
    code: "SAFETENSORS_TOO_MANY_TENSORS",
    bytes: file(many),
    limits: { maxTensors: 1000 },
  },
  {
    name: "metadata does not make room for one more",
    code: "SAFETENSORS_TOO_MANY_TENSORS",
    bytes: file({ ...many, __metadata__: {} }),
    limits: { maxTensors: 1000 },
  },
];
