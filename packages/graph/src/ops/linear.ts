import { z } from "zod";
import { product, sum } from "../expr.js";
import { defineOp, optional, outDtype, outputDtype, tensor } from "../op.js";
import { unaryReference } from "./unary.js";

export const linear = defineOp("linear", {
  doc: "y = f(x · weightᵀ + bias), accumulated in float32; never in TF32.",
  attributes: z.object({
    activation: z.enum(["identity", "silu", "gelu", "gelu_tanh", "relu", "relu2"]).default("identity"),
    outDtype: outDtype(),
  }),
  inputs: { x: tensor("T K"), weight: tensor("N K"), bias: optional("N") },
  outputs: { y: tensor("T N", "O") },
  dtypes: outputDtype,
  cost: ({ T, N, K }) => ({
    flops: product(2, T!, N!, K!),
    bytes: product(4, sum(product(T!, K!), product(N!, K!), product(T!, N!))),
  }),
  reference: ({ x, weight, bias }, { activation }) => {
    const [T, K] = x.shape as [number, number];
    const N = weight.shape[0]!;
    const f = unaryReference[activation];
    const data = new Float64Array(T * N);
    for (let t = 0; t < T; t++) {
      for (let n = 0; n < N; n++) {
        let sum = bias ? bias.data[n]! : 0;
        for (let k = 0; k < K; k++) sum += x.data[t * K + k]! * weight.data[n * K + k]!;
        data[t * N + n] = f(sum);
      }
    }
    return { y: { shape: [T, N], data } };
  },
});
