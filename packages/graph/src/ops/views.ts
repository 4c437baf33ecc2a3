import { z } from "zod";
import { Expr, product } from "../expr.js";
import { defineOp, tensor } from "../op.js";

const nothing = { flops: 0, bytes: 0 } as const;
const unread = () => ({});

export const slice = defineOp("slice", {
  doc: "Columns start … start + length of a [T, D] tensor, as a view.",
  attributes: z.object({ start: z.int().min(0), length: z.int().positive() }),
  inputs: { x: tensor("T D") },
  outputs: { y: tensor("T L") },
  dims: (_, { length }) => ({ L: length }),
  rules: [{ rule: "start + length <= D", expects: "columns within the width" }],
  view: (x, { start, length }) => ({
    shape: [x.shape[0]!, length],
    offset: x.offset + start * x.strides[1]!,
    strides: x.strides,
  }),
  cost: () => nothing,
  reference: unread,
});

export const splitHeads = defineOp("split_heads", {
  doc: "[T, heads · dim] seen as [T, heads, dim].",
  attributes: z.object({ heads: z.int().positive() }),
  inputs: { x: tensor("T D") },
  outputs: { y: tensor("T H P") },
  dims: ({ D }, { heads }) => ({ H: heads, P: D!.constant! / heads }),
  rules: [{ rule: "heads >= 1 && D % heads == 0", expects: "heads of equal width" }],
  view: (x, { heads }) => {
    const width = x.inner(1) / heads;
    return { shape: [x.shape[0]!, heads, width], offset: x.offset, strides: [x.strides[0]!, width, 1] };
  },
  cost: () => nothing,
  reference: unread,
});

export const mergeHeads = defineOp("merge_heads", {
  doc: "[T, heads, dim] seen as [T, heads · dim].",
  attributes: z.object({}),
  inputs: { x: tensor("T H P") },
  outputs: { y: tensor("T D") },
  dims: ({ H, P }) => ({ D: product(H!, P!) }),
  view: (x) => ({
    shape: [x.shape[0]!, Expr.of(x.inner(1) * x.inner(2))],
    offset: x.offset,
    strides: [x.strides[0]!, 1],
  }),
  cost: () => nothing,
  reference: unread,
});
