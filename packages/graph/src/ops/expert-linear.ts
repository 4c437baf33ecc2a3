import { z } from "zod";
import { product, sum } from "../expr.js";
import { defineOp, optional, tensor } from "../op.js";
import { unaryReference } from "./unary.js";

export const expertLinear = defineOp("expert_linear", {
  doc: "Products with the weights of the experts that each token was routed to; no token is dropped. Without `combine` a token's row goes to each of its K experts: y[t, k] = f(weight[experts[t, k]] · x[t]), or, `gated`, f(W_first · x[t]) · (W_second · x[t]) with the first and the second half of the expert's rows. With `combine`: y[t] = Σ_k weights[t, k] · f(weight[experts[t, k]] · x[t, k]).",
  attributes: z.object({
    activation: z.enum(["identity", "silu", "gelu", "gelu_tanh", "relu", "relu2"]).default("identity"),
    gated: z.boolean().default(false),
    combine: z.boolean().default(false),
  }),
  inputs: {
    x: tensor("T X"),
    weight: tensor("N M C"),
    experts: tensor("T K", "i32"),
    weights: optional("T K", "f32"),
  },
  outputs: { y: tensor("T Y") },
  dims: ({ M, K }, { gated, combine }) => ({ Y: combine ? M! : product(K!, gated ? M!.constant! / 2 : M!) }),
  rules: [
    { rule: "N >= 1 && N <= 1024", expects: "1 to 1024 experts" },
    { rule: "!gated || !combine && M % 2 == 0", expects: "an even number of rows per expert for a gate, not combined" },
    { rule: "combine && X == K * C || !combine && X == C", expects: "rows for each of a token's experts" },
    {
      rule: "combine && Y == M || !combine && gated && Y == K * (M / 2) || !combine && !gated && Y == K * M",
      expects: "a result as wide as what its experts give",
    },
  ],
  cost: ({ T, K, M, C, N }) => ({
    flops: product(2, T!, K!, M!, C!),
    bytes: product(4, sum(product(N!, M!, C!), product(T!, K!, sum(M!, C!)))),
  }),
  // Pairs (token, choice) in the order of their experts (i32), where each expert's begin (i32) and which 64 pairs of which expert a
  // tile holds (two i32); a block of 256 gathered rows and its products; with combine the products of all pairs (f32). Each part
  // rounded up to 256 bytes.
  scratch: ({ T, K, M, C, N }, { combine }) =>
    sum(product(5, T!, K!), product(16, N!), product(4 * 256, sum(M!, C!)), combine ? product(4, T!, K!, M!) : 0, 2048),
  reference: ({ x, weight, experts, weights }, { activation, gated, combine }) => {
    const [T, K] = experts.shape as [number, number];
    const [, M, C] = weight.shape as [number, number, number];
    const f = unaryReference[activation];
    const width = gated ? M / 2 : M;
    const data = new Float64Array(combine ? T * M : T * K * width);
    for (let t = 0; t < T; t++) {
      for (let k = 0; k < K; k++) {
        const expert = experts.data[t * K + k]!;
        const from = combine ? (t * K + k) * C : t * C;
        const dot = (m: number): number => {
          let value = 0;
          for (let c = 0; c < C; c++) value += weight.data[(expert * M + m) * C + c]! * x.data[from + c]!;
          return value;
        };
        for (let m = 0; m < width; m++) {
          const value = f(dot(m)) * (gated ? dot(m + width) : 1);
          if (combine) data[t * M + m]! += (weights ? weights.data[t * K + k]! : 1) * value;
          else data[(t * K + k) * width + m] = value;
        }
      }
    }
    return { y: { shape: [T, data.length / Math.max(1, T)], data } };
  },
});
