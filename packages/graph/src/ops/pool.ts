import { z } from "zod";
import { product } from "../expr.js";
import { cuSeqlens, defineOp, outDtype, outputDtype, tensor } from "../op.js";
import { eachSequence } from "../reference-math.js";

export const pool = defineOp("pool", {
  doc: "One row per segment between borders: the mean, sum or maximum of its rows; zeros for an empty segment.",
  attributes: z.object({ kind: z.enum(["mean", "sum", "max"]), outDtype: outDtype() }),
  inputs: { x: tensor("T D"), cuSeqlens: cuSeqlens() },
  outputs: { y: tensor("S D", "O") },
  dtypes: outputDtype,
  cost: ({ T, D, S }) => ({ flops: product(T!, D!), bytes: product(4, T!, D!).plus(product(4, S!, D!)) }),
  reference: ({ x, cuSeqlens }, { kind }) => {
    const D = x.shape[1]!;
    const S = cuSeqlens.data.length - 1;
    const data = new Float64Array(S * D);
    eachSequence(cuSeqlens.data, (s, from, to) => {
      if (from === to) return;
      for (let d = 0; d < D; d++) {
        let value = kind === "max" ? Number.NEGATIVE_INFINITY : 0;
        for (let t = from; t < to; t++) {
          const v = x.data[t * D + d]!;
          value = kind === "max" ? Math.max(value, v) : value + v;
        }
        data[s * D + d] = kind === "mean" ? value / (to - from) : value;
      }
    });
    return { y: { shape: [S, D], data } };
  },
});
