import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, optional, outDtype, outputDtype, tensor, when } from "../op.js";

export const layerNorm = defineOp("layer_norm", {
  doc: "y = (h − mean(h)) · rsqrt(var(h) + eps) · weight + bias per row, var the mean of the squared differences; h = x or, with `residual`, x + residual, returned as `sum`. Ba et al. 2016.",
  attributes: z.object({ eps: z.number().positive().default(1e-5), outDtype: outDtype() }),
  inputs: {
    x: tensor("T D"),
    weight: tensor("D", "f32"),
    bias: optional("D", "f32"),
    residual: optional("T D", "R"),
  },
  outputs: { y: tensor("T D", "O"), sum: when("residual", "T D", "R") },
  dtypes: outputDtype,
  rules: [{ rule: "has(residual) == has(sum)", expects: "a sum exactly when there is a residual" }],
  cost: ({ T, D }) => ({ flops: product(8, T!, D!), bytes: product(16, T!, D!) }),
  reference: ({ x, weight, bias, residual }, { eps }) => {
    const [T, D] = x.shape as [number, number];
    const h = residual ? x.data.map((v, i) => v + residual.data[i]!) : x.data;
    const y = new Float64Array(T * D);
    for (let t = 0; t < T; t++) {
      const row = h.subarray(t * D, (t + 1) * D);
      const mean = row.reduce((sum, v) => sum + v, 0) / D;
      const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / D;
      const scale = 1 / Math.sqrt(variance + eps);
      for (let d = 0; d < D; d++) {
        y[t * D + d] = (row[d]! - mean) * scale * weight.data[d]! + (bias ? bias.data[d]! : 0);
      }
    }
    return { y: { shape: x.shape, data: y }, sum: { shape: x.shape, data: h } };
  },
});
