import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, tensor } from "../op.js";
import { unaryReference } from "./unary.js";

export const gatedRmsNorm = defineOp("gated_rms_norm", {
  doc: "y = norm(x · silu(gate)) · weight, the mean square taken over each of `groups` equal parts of a row; with normBeforeGate norm(x) · weight · silu(gate). Mamba-2, arXiv 2405.21060.",
  attributes: z.object({
    eps: z.number().positive().default(1e-5),
    groups: z.int().positive().default(1),
    normBeforeGate: z.boolean().default(false),
  }),
  inputs: { x: tensor("T D"), gate: tensor("T D"), weight: tensor("D", "f32") },
  outputs: { y: tensor("T D") },
  rules: [{ rule: "groups >= 1 && D % groups == 0", expects: "groups that divide its width" }],
  lingers: true,
  cost: ({ T, D }) => ({ flops: product(8, T!, D!), bytes: product(12, T!, D!) }),
  reference: ({ x, gate, weight }, { eps, groups, normBeforeGate }) => {
    const [T, D] = x.shape as [number, number];
    const width = D / groups;
    const y = new Float64Array(T * D);
    for (let row = 0; row < T * groups; row++) {
      const from = row * width;
      const h = new Float64Array(width);
      let square = 0;
      for (let i = 0; i < width; i++) {
        h[i] = normBeforeGate ? x.data[from + i]! : x.data[from + i]! * unaryReference.silu(gate.data[from + i]!);
        square += h[i]! ** 2;
      }
      const scale = 1 / Math.sqrt(square / width + eps);
      for (let i = 0; i < width; i++) {
        const after = normBeforeGate ? unaryReference.silu(gate.data[from + i]!) : 1;
        y[from + i] = h[i]! * scale * weight.data[(from + i) % D]! * after;
      }
    }
    return { y: { shape: x.shape, data: y } };
  },
});
