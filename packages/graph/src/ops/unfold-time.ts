import { z } from "zod";
import { deriveBorders } from "../borders.js";
import { product } from "../expr.js";
import { cuSeqlens, defineOp, optional, optionalState, tensor } from "../op.js";
import { eachSequence } from "../reference-math.js";

export const unfoldTime = defineOp("unfold_time", {
  doc: "One row of every `stride` with its neighbours in time: y[f, c · width + w] = x[f · stride − before + w, c] for f < ⌈length / stride⌉ within each sequence, zeros outside it; also the borders of those rows. Columns lie as a Conv1d weight [N, C, width] flattens, so that a `linear` behind it is a strided convolution (Whisper's conv2: width 3, stride 2, before 1). What lies before a run is the carried tail (slot stateIndex[s] of `state`, oldest row first; zeros for −1), which ends as the last `before` rows. A run of a slot begins at a multiple of stride and reaches no row beyond the stride of its last, so that whole strides stream exactly.",
  attributes: z.object({
    width: z.int().positive(),
    stride: z.int().positive(),
    /** Rows before its own that a row sees. */
    before: z.int().min(0),
  }),
  inputs: {
    x: tensor("T C"),
    cuSeqlens: cuSeqlens(),
    /** Absolute position of each sequence's first row in this run. */
    position: optional("S", "i64"),
    /** Slots of the last `before` rows. */
    state: optionalState("Slots Tail C", "E"),
    stateIndex: optional("S", "i32"),
  },
  outputs: { y: tensor("F K"), cuSeqlens: tensor("S+1", "i32") },
  dims: ({ C }, { width, stride }) => ({ F: { add: stride - 1, by: stride }, K: product(C!, width) }),
  rules: [
    {
      rule: "width >= 1 && stride >= 1 && before >= 0",
      expects: "a positive width and stride and no negative rows before",
    },
    { rule: "K == C * width", expects: "a row for each of its neighbours" },
    {
      rule: "!has(state) || has(position) && Tail == before && width <= before + stride",
      expects: "with a state: positions, `before` rows in it, and no row that reaches beyond its own stride",
    },
  ],
  cost: ({ T, C, F, K }) => ({ flops: 0, bytes: product(4, F!, K!).plus(product(4, T!, C!)) }),
  reference: ({ x, cuSeqlens, state, stateIndex }, { width, stride, before }, shapes) => {
    const [F, K] = shapes.y as [number, number];
    const C = x.shape[1]!;
    const y = new Float64Array(F * K);
    const borders = deriveBorders(cuSeqlens.data, { add: stride - 1, by: stride });
    const next = state ? Float64Array.from(state.data) : new Float64Array(0);
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const slot = state && stateIndex ? stateIndex.data[s]! : -1;
      // Row r of the sequence, r < 0 being the carried tail.
      const at = (r: number, c: number): number => {
        if (r >= to - from) return 0;
        if (r >= 0) return x.data[(from + r) * C + c]!;
        return slot >= 0 ? state!.data[(slot * before + before + r) * C + c]! : 0;
      };
      for (let f = borders[s]!; f < borders[s + 1]!; f++) {
        const first = (f - borders[s]!) * stride - before;
        for (let c = 0; c < C; c++) for (let w = 0; w < width; w++) y[f * K + c * width + w] = at(first + w, c);
      }
      if (slot < 0) return;
      for (let r = 0; r < before; r++)
        for (let c = 0; c < C; c++) next[(slot * before + r) * C + c] = at(to - from - before + r, c);
    });
    return {
      y: { shape: [F, K], data: y },
      cuSeqlens: { shape: [borders.length], data: Float64Array.from(borders) },
      ...(state && { state: { shape: state.shape, data: next } }),
    };
  },
});
