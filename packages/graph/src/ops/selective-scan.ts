import { z } from "zod";
import { product, sum } from "../expr.js";
import { cuSeqlens, defineOp, mirrorScratch, optional, optionalState, reverse, tensor } from "../op.js";
import { eachSequence, walked } from "../reference-math.js";
import { unaryReference } from "./unary.js";

export const selectiveScan = defineOp("selective_scan", {
  doc: "Mamba-1's selective scan (S6). Per channel, with N states: h ← exp(Δ·A) ∘ h + Δ·x·B; y = C·h + D·x, then y·silu(z) where z is given, with A = −exp(aLog), Δ = softplus(dt + dtBias). h starts from slot stateIndex[s] of `state` (zero for −1) and ends there. Evaluated token after token, so that a run may be cut anywhere without another bit; CUDA scans few long sequences in segments, which agree to rounding. With `reverse` each sequence is walked from its last token to its first. arXiv 2312.00752.",
  attributes: z.object({ dtSoftplus: z.boolean().default(true), reverse: reverse() }),
  inputs: {
    x: tensor("T C"),
    /** Before bias and softplus. */
    dt: tensor("T C"),
    aLog: tensor("C N", "f32"),
    B: tensor("T N"),
    C: tensor("T N"),
    D: optional("C", "f32"),
    dtBias: optional("C", "f32"),
    /** The gate. */
    z: optional("T C"),
    cuSeqlens: cuSeqlens(),
    state: optionalState("Slots C N"),
    stateIndex: optional("S", "i32"),
  },
  outputs: { y: tensor("T C") },
  rules: [{ rule: "N >= 1 && N <= 256", expects: "1 to 256 states per channel" }],
  cost: ({ T, C, N }) => ({
    flops: product(7, T!, C!, N!),
    bytes: product(4, T!, sum(product(4, C!), product(2, N!))),
  }),
  scratch: mirrorScratch,
  reference: ({ x, dt, aLog, B, C, D, dtBias, z, cuSeqlens, state, stateIndex }, { dtSoftplus, reverse }) => {
    const [T, channels] = x.shape as [number, number];
    const N = B.shape[1]!;
    const A = aLog.data.map((v) => -Math.exp(v));
    const y = new Float64Array(T * channels);
    const next = state ? Float64Array.from(state.data) : new Float64Array(0);
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const slot = state && stateIndex ? stateIndex.data[s]! : -1;
      for (let c = 0; c < channels; c++) {
        const h = new Float64Array(N);
        if (state && slot >= 0) h.set(state.data.subarray((slot * channels + c) * N, (slot * channels + c + 1) * N));
        for (let i = 0; i < to - from; i++) {
          const t = walked(from, to, i, reverse);
          const at = t * channels + c;
          const raw = dt.data[at]! + (dtBias ? dtBias.data[c]! : 0);
          const step = dtSoftplus ? unaryReference.softplus(raw) : raw;
          let dot = D ? D.data[c]! * x.data[at]! : 0;
          for (let n = 0; n < N; n++) {
            h[n] = Math.exp(step * A[c * N + n]!) * h[n]! + step * x.data[at]! * B.data[t * N + n]!;
            dot += C.data[t * N + n]! * h[n]!;
          }
          y[at] = z ? dot * unaryReference.silu(z.data[at]!) : dot;
        }
        if (state && slot >= 0) next.set(h, (slot * channels + c) * N);
      }
    });
    return { y: { shape: x.shape, data: y }, ...(state && { state: { shape: state.shape, data: next } }) };
  },
});
