import { z } from "zod";
import { product } from "../expr.js";
import { noGradient } from "../no-gradient.js";
import { defineOp, type Gradients, outDtype, outputDtype, tensor } from "../op.js";
import { erf } from "../reference-math.js";

export const unaryKinds = [
  "identity",
  "silu",
  "gelu",
  "gelu_tanh",
  "sigmoid",
  "softplus",
  "tanh",
  "relu",
  "relu2",
  "exp",
  "log",
  "square",
] as const;

/** The functions in float64; `softplus` is the identity above 20, as in the Mamba reference. */
export const unaryReference: Record<(typeof unaryKinds)[number], (x: number) => number> = {
  identity: (x) => x,
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  softplus: (x) => (x > 20 ? x : Math.log1p(Math.exp(x))),
  tanh: Math.tanh,
  relu: (x) => Math.max(0, x),
  relu2: (x) => Math.max(0, x) ** 2,
  exp: Math.exp,
  log: Math.log,
  square: (x) => x * x,
};

export const unary = defineOp("unary", {
  doc: "y = scale · f(max(x, low)) + shift, element by element; also the copy of a view and the cast between dtypes.",
  attributes: z.object({
    kind: z.enum(unaryKinds),
    /** Lower clamp before the function. The default clamps nothing that a float32 can hold. */
    low: z.number().default(-3.4028234663852886e38),
    scale: z.number().default(1),
    shift: z.number().default(0),
    outDtype: outDtype(),
  }),
  inputs: { x: tensor("T D") },
  outputs: { y: tensor("T D", "O") },
  dtypes: outputDtype,
  cost: ({ T, D }) => ({ flops: product(4, T!, D!), bytes: product(8, T!, D!) }),
  gradient: ({ inputs, attributes }, { y: dy }): Gradients => {
    const { kind, scale } = attributes;
    if (!dy) return {};
    if (kind !== "identity" || (attributes.low as number) > -3.4e38) return noGradient(`unary ${kind}`);
    const outDtype = inputs.x!.dtype as "f32" | "bf16";
    return { x: unary({ x: dy }, { kind: "identity", scale: scale as number, outDtype }).y };
  },
  reference: ({ x }, { kind, low, scale, shift }) => ({
    y: { shape: x.shape, data: x.data.map((v) => scale * unaryReference[kind](Math.max(v, low)) + shift) },
  }),
});
