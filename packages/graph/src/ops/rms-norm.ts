import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, optional, outDtype, outputDtype, tensor, when } from "../op.js";

export const rmsNorm = defineOp("rms_norm", {
  doc: "y = h · rsqrt(mean(h²) + eps) · weight per row, h = x or, with `residual`, x + residual, returned as `sum`. Zhang & Sennrich 2019.",
  attributes: z.object({ eps: z.number().positive().default(1e-5), outDtype: outDtype() }),
  inputs: { x: tensor("T D"), weight: tensor("D", "f32"), residual: optional("T D", "R") },
  outputs: { y: tensor("T D", "O"), sum: when("residual", "T D", "R") },
  dtypes: outputDtype,
  rules: [{ rule: "has(residual) == has(sum)", expects: "a sum exactly when there is a residual" }],
  lingers: true,
  cost: ({ T, D }) => ({ flops: product(4, T!, D!), bytes: product(16, T!, D!) }),
  reference: ({ x, weight, residual }, { eps }) => {
    const [T, D] = x.shape as [number, number];
    const h = residual ? x.data.map((v, i) => v + residual.data[i]!) : x.data;
    const y = new Float64Array(T * D);
    for (let t = 0; t < T; t++) {
      let square = 0;
      for (let d = 0; d < D; d++) square += h[t * D + d]! ** 2;
      const scale = 1 / Math.sqrt(square / D + eps);
      for (let d = 0; d < D; d++) y[t * D + d] = h[t * D + d]! * scale * weight.data[d]!;
    }
    return { y: { shape: x.shape, data: y }, sum: { shape: x.shape, data: h } };
  },
});
