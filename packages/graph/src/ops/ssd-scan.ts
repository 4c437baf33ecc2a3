import { z } from "zod";
import { product, sum } from "../expr.js";
import { cuSeqlens, defineOp, mirrorScratch, optional, optionalState, reverse, tensor } from "../op.js";
import { eachSequence, walked } from "../reference-math.js";
import { unaryReference } from "./unary.js";

export const ssdScan = defineOp("ssd_scan", {
  doc: "Mamba-2's state space dual scan. Per head: S ← exp(Δ·A)·S + Δ·x ⊗ B; y = S·C + D·x, with A = −exp(aLog), Δ = clamp(softplus(dt + dtBias), dtMin, dtMax); head h reads group ⌊h / (H/G)⌋ of B and C. S starts from slot stateIndex[s] of `state` (zero for −1) and ends there. Evaluated in chunks of chunkSize tokens counted from each sequence's start in the run. With `reverse` each sequence is walked from its last token to its first, and chunks count from there. arXiv 2405.21060.",
  attributes: z.object({
    chunkSize: z.int().min(1).max(256).default(64),
    dtSoftplus: z.boolean().default(true),
    dtMin: z.number().min(0).default(0),
    dtMax: z.number().positive().default(3.4028234663852886e38),
    reverse: reverse(),
  }),
  inputs: {
    x: tensor("T H P"),
    dt: tensor("T H"),
    aLog: tensor("H", "f32"),
    B: tensor("T G N"),
    C: tensor("T G N"),
    /** Per head [H, 1] or per channel [H, P]. */
    D: optional("H DP", "f32"),
    dtBias: optional("H", "f32"),
    cuSeqlens: cuSeqlens(),
    state: optionalState("Slots H P N"),
    stateIndex: optional("S", "i32"),
  },
  outputs: { y: tensor("T H P") },
  rules: [
    { rule: "G >= 1 && H % G == 0", expects: "heads in equal groups" },
    { rule: "chunkSize >= 1 && chunkSize <= 256", expects: "chunks of 1 to 256 tokens" },
    { rule: "!has(D) || DP == 1 || DP == P", expects: "D per head or per channel" },
  ],
  cost: ({ T, H, P, N, G }, { chunkSize: q }) => ({
    flops: product(T!, sum(product(2 * q, N!, G!), product(2 * q, P!, H!), product(4, P!, N!, H!))),
    bytes: product(4, T!, sum(product(2, H!, P!), H!, product(2, G!, N!))),
  }),
  scratch: (dims, attributes) => {
    const { T, S, H, P, N, G } = dims;
    const q = attributes.chunkSize;
    // Per chunk: the state it adds [H, P, N], Δ [H, q] and its running sums as two floats [H, q, 2], C·Bᵀ [G, q, q], the whole
    // chunk's decay [H], and which chunk it is [3]; each part rounded up to 256 bytes. At most T/q + S chunks.
    const chunks = Math.ceil(T!.capacity / q) + S!.capacity;
    return product(4, chunks, sum(product(H!, P!, N!), product(3 * q, H!), product(q * q, G!), H!, 3))
      .plus(2048)
      .plus(mirrorScratch(dims, attributes));
  },
  reference: (
    { x, dt, aLog, B, C, D, dtBias, cuSeqlens, state, stateIndex },
    { dtSoftplus, dtMin, dtMax, reverse },
  ) => {
    const [T, H, P] = x.shape as [number, number, number];
    const [, G, N] = B.shape as [number, number, number];
    const y = new Float64Array(T * H * P);
    const next = state ? Float64Array.from(state.data) : new Float64Array(0);
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const slot = stateIndex ? stateIndex.data[s]! : -1;
      for (let h = 0; h < H; h++) {
        const A = -Math.exp(aLog.data[h]!);
        const g = Math.floor(h / (H / G));
        const S = new Float64Array(P * N);
        if (state && slot >= 0) S.set(state.data.subarray((slot * H + h) * P * N, (slot * H + h + 1) * P * N));
        for (let i = 0; i < to - from; i++) {
          const t = walked(from, to, i, reverse);
          const raw = dt.data[t * H + h]! + (dtBias ? dtBias.data[h]! : 0);
          const step = Math.min(dtMax, Math.max(dtMin, dtSoftplus ? unaryReference.softplus(raw) : raw));
          const decay = Math.exp(step * A);
          for (let p = 0; p < P; p++) {
            const xv = x.data[(t * H + h) * P + p]!;
            let dot = 0;
            for (let n = 0; n < N; n++) {
              const at = (t * G + g) * N + n;
              S[p * N + n] = decay * S[p * N + n]! + step * xv * B.data[at]!;
              dot += S[p * N + n]! * C.data[at]!;
            }
            const skip = D ? D.data[D.shape[1] === 1 ? h : h * P + p]! : 0;
            y[(t * H + h) * P + p] = dot + skip * xv;
          }
        }
        if (state && slot >= 0) next.set(S, (slot * H + h) * P * N);
      }
    });
    return { y: { shape: x.shape, data: y }, ...(state && { state: { shape: state.shape, data: next } }) };
  },
});
