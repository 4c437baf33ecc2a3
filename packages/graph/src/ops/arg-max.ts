import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, optionalState, tensor } from "../op.js";

export const argMax = defineOp("arg_max", {
  doc: "index[t] = the place of the largest of x[t], the first of equals; NaN is never larger, and a row of nothing else gives −1. `kept`, where there is one, receives it too: ids that the next run of the program reads.",
  attributes: z.object({}),
  inputs: { x: tensor("T V", "f32"), kept: optionalState("T", "i32") },
  outputs: { index: tensor("T", "i32") },
  rules: [{ rule: "V >= 1", expects: "at least one value per row" }],
  cost: ({ T, V }) => ({ flops: product(T!, V!), bytes: product(4, T!, V!) }),
  reference: ({ x, kept }) => {
    const [T, V] = x.shape as [number, number];
    const index = new Float64Array(T);
    for (let t = 0; t < T; t++) {
      let best = 0;
      for (let v = 1; v < V; v++) {
        const value = x.data[t * V + v]!;
        // What is not comparable gives way to whatever is.
        if (value > x.data[t * V + best]! || (Number.isNaN(x.data[t * V + best]!) && !Number.isNaN(value))) best = v;
      }
      index[t] = Number.isNaN(x.data[t * V + best]!) ? -1 : best;
    }
    return { index: { shape: [T], data: index }, ...(kept && { kept: { shape: [T], data: index } }) };
  },
});
