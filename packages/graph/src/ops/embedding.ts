import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, outDtype, outputDtype, tensor } from "../op.js";

export const embedding = defineOp("embedding", {
  doc: "y[t] = table[ids[t]]: rows of a table, or of any tensor (a gather). ids in [0, V).",
  attributes: z.object({ outDtype: outDtype() }),
  inputs: { table: tensor("V D", "E"), ids: tensor("T", "i32") },
  outputs: { y: tensor("T D", "O") },
  dtypes: outputDtype,
  cost: ({ T, D }) => ({ flops: 0, bytes: product(8, T!, D!) }),
  reference: ({ table, ids }) => {
    const D = table.shape[1]!;
    const data = new Float64Array(ids.data.length * D);
    ids.data.forEach((id, t) => {
      data.set(table.data.subarray(id * D, (id + 1) * D), t * D);
    });
    return { y: { shape: [ids.data.length, D], data } };
  },
});
