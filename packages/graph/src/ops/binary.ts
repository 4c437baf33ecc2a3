import { z } from "zod";
import { product } from "../expr.js";
import { noGradient } from "../no-gradient.js";
import { defineOp, type Gradients, tensor } from "../op.js";

export const binary = defineOp("binary", {
  doc: "y = a ∘ b, element by element; a dimension of b that is 1 is repeated along that dimension of a.",
  attributes: z.object({ kind: z.enum(["add", "sub", "mul", "max"]) }),
  inputs: { a: tensor("T D", "R"), b: tensor("B C", "E") },
  outputs: { y: tensor("T D", "R") },
  rules: [{ rule: "(B == T || B == 1) && (C == D || C == 1)", expects: "dimensions of a, or 1, for b" }],
  cost: ({ T, D }) => ({ flops: product(T!, D!), bytes: product(12, T!, D!) }),
  gradient: ({ inputs, attributes }, { y: dy }): Gradients => {
    const { a, b } = inputs as { a: NonNullable<typeof inputs.a>; b: NonNullable<typeof inputs.b> };
    const broadcast = !a.shape.every((d, i) => d.equals(b.shape[i]!));
    if (!dy) return {};
    if (broadcast) return noGradient("binary with a repeated b");
    if (attributes.kind === "add") return { a: dy, b: dy };
    if (attributes.kind === "sub") {
      const zero = binary({ a: dy, b: dy }, { kind: "sub" }).y;
      return { a: dy, b: binary({ a: zero, b: dy }, { kind: "sub" }).y };
    }
    if (attributes.kind === "mul") {
      return { a: binary({ a: dy, b }, { kind: "mul" }).y, b: binary({ a: dy, b: a }, { kind: "mul" }).y };
    }
    return noGradient(`binary ${attributes.kind}`);
  },
  reference: ({ a, b }, { kind }) => {
    const [rows, columns] = a.shape as [number, number];
    const [bRows, bColumns] = b.shape as [number, number];
    const f = {
      add: (x: number, y: number) => x + y,
      sub: (x: number, y: number) => x - y,
      mul: (x: number, y: number) => x * y,
      max: Math.max,
    }[kind];
    const data = new Float64Array(a.data.length);
    for (let t = 0; t < rows; t++) {
      for (let d = 0; d < columns; d++) {
        const at = (bRows === 1 ? 0 : t) * bColumns + (bColumns === 1 ? 0 : d);
        data[t * columns + d] = f(a.data[t * columns + d]!, b.data[at]!);
      }
    }
    return { y: { shape: a.shape, data } };
  },
});
