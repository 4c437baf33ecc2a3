import { type Attack, file, tensor } from "../helpers.js";

/** Dtypes the format does not have, among them names that every object has. */
export const attacks: Attack[] = ["F128", "f32", "", "constructor", "__proto__", "toString", 4, null, ["F32"]].map(
  (dtype) => ({
    name: `the dtype ${JSON.stringify(dtype)}`,
    code: "SAFETENSORS_DTYPE",
    bytes: file({ a: tensor(dtype as string, [1], 0, 4) }, 4),
  }),
);
