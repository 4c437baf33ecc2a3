import { z } from "zod";
import { product } from "../expr.js";
import { cuSeqlens, defineOp, mirrorScratch, optional, optionalState, reverse, tensor } from "../op.js";
import { eachSequence, walked } from "../reference-math.js";
import { unaryReference } from "./unary.js";

export const causalConv1d = defineOp("causal_conv1d", {
  doc: "Depthwise causal convolution along time: y[t, c] = f(bias[c] + Σ_w weight[c, w] · x[t − W + 1 + w, c]) within each sequence. What lies before the run is the carried tail (slot stateIndex[s] of `state`, oldest row first; zeros for −1), which ends as the last W − 1 inputs. With `reverse` each sequence is walked from its last token to its first, and the tail is that of the walk. Mamba's conv1d.",
  attributes: z.object({ activation: z.enum(["identity", "silu"]).default("identity"), reverse: reverse() }),
  inputs: {
    x: tensor("T C"),
    weight: tensor("C W", "f32"),
    bias: optional("C", "f32"),
    cuSeqlens: cuSeqlens(),
    /** Slots of the last W − 1 inputs. */
    state: optionalState("Slots Tail C"),
    stateIndex: optional("S", "i32"),
  },
  outputs: { y: tensor("T C") },
  rules: [
    { rule: "W >= 1", expects: "a width of at least 1" },
    { rule: "!has(state) || Tail == W - 1", expects: "a state of width - 1 rows" },
  ],
  cost: ({ T, C, W }) => ({ flops: product(2, T!, C!, W!), bytes: product(8, T!, C!) }),
  scratch: mirrorScratch,
  reference: ({ x, weight, bias, cuSeqlens, state, stateIndex }, { activation, reverse }) => {
    const [T, C] = x.shape as [number, number];
    const W = weight.shape[1]!;
    const tail = W - 1;
    const f = unaryReference[activation];
    const y = new Float64Array(T * C);
    const next = state ? Float64Array.from(state.data) : new Float64Array(0);
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const slot = stateIndex ? stateIndex.data[s]! : -1;
      // Row r of the walk's history, r < 0 being the carried tail.
      const at = (r: number, c: number): number => {
        if (r >= 0) return x.data[walked(from, to, r, reverse) * C + c]!;
        return state && slot >= 0 ? state.data[(slot * tail + tail + r) * C + c]! : 0;
      };
      for (let t = 0; t < to - from; t++) {
        for (let c = 0; c < C; c++) {
          let sum = bias ? bias.data[c]! : 0;
          for (let w = 0; w < W; w++) sum += weight.data[c * W + w]! * at(t - tail + w, c);
          y[walked(from, to, t, reverse) * C + c] = f(sum);
        }
      }
      if (state && slot >= 0) {
        for (let r = 0; r < tail; r++) {
          for (let c = 0; c < C; c++) next[(slot * tail + r) * C + c] = at(to - from - tail + r, c);
        }
      }
    });
    return { y: { shape: x.shape, data: y }, ...(state && { state: { shape: state.shape, data: next } }) };
  },
});
