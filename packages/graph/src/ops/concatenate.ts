import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, tensor } from "../op.js";

export const concatenate = defineOp("concatenate", {
  doc: "Rows of a then rows of b (axis 0), or columns of a then columns of b (axis 1).",
  attributes: z.object({ axis: z.int().min(0).max(1).default(0) }),
  inputs: { a: tensor("A B"), b: tensor("C D") },
  outputs: { y: tensor("Y Z") },
  rules: [
    { rule: "axis == 0 || axis == 1", expects: "axis 0 or 1" },
    { rule: "axis == 0 && B == D || axis == 1 && A == C", expects: "equal sizes off the joined axis" },
    { rule: "axis == 1 || Y == A + C && Z == B", expects: "a result as large as both parts" },
    { rule: "axis == 0 || Y == A && Z == B + D", expects: "a result as large as both parts" },
  ],
  dims: ({ A, B, C, D }, { axis }) => (axis === 0 ? { Y: A!.plus(C!), Z: B! } : { Y: A!, Z: B!.plus(D!) }),
  cost: ({ Y, Z }) => ({ flops: 0, bytes: product(8, Y!, Z!) }),
  reference: ({ a, b }, { axis }) => {
    const [A, B] = a.shape as [number, number];
    const [C, D] = b.shape as [number, number];
    if (axis === 0) {
      const data = new Float64Array(a.data.length + b.data.length);
      data.set(a.data);
      data.set(b.data, a.data.length);
      return { y: { shape: [A + C, B], data } };
    }
    const data = new Float64Array(A * (B + D));
    for (let r = 0; r < A; r++) {
      data.set(a.data.subarray(r * B, (r + 1) * B), r * (B + D));
      data.set(b.data.subarray(r * D, (r + 1) * D), r * (B + D) + B);
    }
    return { y: { shape: [A, B + D], data } };
  },
});
