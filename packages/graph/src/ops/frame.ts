import { z } from "zod";
import { deriveBorders } from "../borders.js";
import { product } from "../expr.js";
import { cuSeqlens, defineOp, tensor } from "../op.js";
import { eachSequence } from "../reference-math.js";

export const frame = defineOp("frame", {
  doc: "Overlapping frames of a signal: y[f] = x[f·hop … f·hop + size) within each sequence, only whole frames; also the borders of the frames.",
  attributes: z.object({ size: z.int().positive(), hop: z.int().positive() }),
  inputs: { x: tensor("T"), cuSeqlens: cuSeqlens() },
  outputs: { y: tensor("F K"), cuSeqlens: tensor("S+1", "i32") },
  dims: (_, { size, hop }) => ({ F: { add: hop - size, by: hop }, K: size }),
  rules: [
    { rule: "size >= 1 && hop >= 1", expects: "a positive size and hop" },
    { rule: "K == size", expects: "rows of the frame's size" },
  ],
  cost: ({ T, F, K }) => ({ flops: 0, bytes: product(4, F!, K!).plus(product(4, T!)) }),
  reference: ({ x, cuSeqlens }, { size, hop }, shapes) => {
    const [frames] = shapes.y as [number];
    const y = new Float64Array(frames * size);
    const borders = deriveBorders(cuSeqlens.data, { add: hop - size, by: hop });
    eachSequence(borders, (s, from, to) => {
      for (let f = from; f < to; f++) {
        const at = cuSeqlens.data[s]! + (f - from) * hop;
        y.set(x.data.subarray(at, at + size), f * size);
      }
    });
    return {
      y: { shape: [frames, size], data: y },
      cuSeqlens: { shape: [borders.length], data: Float64Array.from(borders) },
    };
  },
});
