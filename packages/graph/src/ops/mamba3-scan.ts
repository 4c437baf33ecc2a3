import { z } from "zod";
import { product, sum } from "../expr.js";
import { cuSeqlens, defineOp, mirrorScratch, optional, optionalState, reverse, tensor } from "../op.js";
import { eachSequence, walked } from "../reference-math.js";
import { unaryReference } from "./unary.js";

/** What −A is made with: the published layer took softplus at first and 1 + a for a ≥ 0, 1 / (1 − a) below since 2026-06. */
export const mamba3AActivations = ["heavyTail", "softplus"] as const;

const { sigmoid, softplus } = unaryReference;
const heavyTail = (a: number): number => (a >= 0 ? 1 + a : 1 / (1 - a));

export const mamba3Scan = defineOp("mamba3_scan", {
  doc: "Mamba-3's scan with one input and one output per channel. Per head, with Δ = softplus(dt + dtBias), A = −max(f(a), aFloor), α = exp(Δ·A), λ = sigmoid(trap): Θ ← Θ + π·tanh(angle)·Δ, kept within ±π; q = rot(C + cBias, Θ), k = rot(B + bBias, Θ), which turn the first K adjacent pairs; S ← α·S + (1 − λ)·Δ·α·v₋₁ ⊗ k₋₁ + λ·Δ·v ⊗ k with v = x; y = S·q + D·v; head h reads group ⌊h / (H/G)⌋ of B and C. Θ, S, k₋₁ and v₋₁ start from slot stateIndex[s] of their pools (zero for −1) and end there. Evaluated token after token, so that a run may be cut anywhere without another bit. With `reverse` each sequence is walked from its last token to its first. Mamba-3, 2026.",
  attributes: z.object({
    aActivation: z.enum(mamba3AActivations).default("heavyTail"),
    /** The slowest decay, −A at least. */
    aFloor: z.number().min(0).default(1e-4),
    reverse: reverse(),
  }),
  inputs: {
    x: tensor("T H P"),
    /** Before bias and softplus. */
    dt: tensor("T H"),
    /** Before its activation. */
    a: tensor("T H"),
    /** Before the sigmoid. */
    trap: tensor("T H"),
    /** Before tanh; all heads turn by these, each at its own Δ. */
    angle: tensor("T K"),
    /** Normalised, before bias and rotation; and so C. */
    B: tensor("T G N"),
    C: tensor("T G N"),
    bBias: tensor("H N", "f32"),
    cBias: tensor("H N", "f32"),
    D: optional("H", "f32"),
    dtBias: optional("H", "f32"),
    cuSeqlens: cuSeqlens(),
    state: optionalState("Slots H P N"),
    angleState: optionalState("Slots H K"),
    keyState: optionalState("Slots H N"),
    valueState: optionalState("Slots H P"),
    stateIndex: optional("S", "i32"),
  },
  outputs: { y: tensor("T H P") },
  rules: [
    { rule: "G >= 1 && H % G == 0", expects: "heads in equal groups" },
    { rule: "N >= 1 && N <= 256", expects: "1 to 256 states per channel" },
    { rule: "2 * K <= N", expects: "at most one angle for two states" },
    {
      rule: "has(state) == has(angleState) && has(state) == has(keyState) && has(state) == has(valueState)",
      expects: "all four pools of states or none",
    },
  ],
  cost: ({ T, H, P, N, G, K }) => ({
    flops: product(T!, H!, sum(product(8, P!, N!), product(12, N!), product(40, K!))),
    bytes: product(4, T!, sum(product(2, H!, P!), product(3, H!), K!, product(2, G!, N!))),
  }),
  scratch: mirrorScratch,
  reference: (inputs, { aActivation, aFloor, reverse }) => {
    const { x, dt, a, trap, angle, B, C, bBias, cBias, D, dtBias, cuSeqlens, stateIndex } = inputs;
    const [T, H, P] = x.shape as [number, number, number];
    const [, G, N] = B.shape as [number, number, number];
    const K = angle.shape[1]!;
    const f = aActivation === "softplus" ? softplus : heavyTail;
    const y = new Float64Array(T * H * P);
    const pools = { state: P * N, angleState: K, keyState: N, valueState: P };
    const next = new Map<string, Float64Array>();
    for (const name of Object.keys(pools) as (keyof typeof pools)[]) {
      if (inputs[name]) next.set(name, Float64Array.from(inputs[name].data));
    }
    /** B or C of a head, biased and turned. */
    const rotated = (from: typeof B, bias: typeof bBias, t: number, h: number, theta: Float64Array) => {
      const g = Math.floor(h / (H / G));
      const v = Float64Array.from({ length: N }, (_, n) => from.data[(t * G + g) * N + n]! + bias.data[h * N + n]!);
      theta.forEach((angle, i) => {
        const [even, odd, cos, sin] = [v[2 * i]!, v[2 * i + 1]!, Math.cos(angle), Math.sin(angle)];
        v[2 * i] = even * cos - odd * sin;
        v[2 * i + 1] = even * sin + odd * cos;
      });
      return v;
    };
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const slot = stateIndex ? stateIndex.data[s]! : -1;
      for (let h = 0; h < H; h++) {
        const start = (name: keyof typeof pools) => {
          const at = (slot * H + h) * pools[name];
          const pool = next.get(name);
          return pool && slot >= 0 ? pool.slice(at, at + pools[name]) : new Float64Array(pools[name]);
        };
        const S = start("state");
        const theta = start("angleState");
        let key = start("keyState");
        let value = start("valueState");
        for (let at = 0; at < to - from; at++) {
          const t = walked(from, to, at, reverse);
          const step = softplus(dt.data[t * H + h]! + (dtBias ? dtBias.data[h]! : 0));
          const decay = Math.exp(-step * Math.max(f(a.data[t * H + h]!), aFloor));
          const mix = sigmoid(trap.data[t * H + h]!);
          for (let i = 0; i < K; i++) {
            const turned = theta[i]! + Math.PI * Math.tanh(angle.data[t * K + i]!) * step;
            theta[i] = turned - 2 * Math.PI * Math.round(turned / (2 * Math.PI));
          }
          const q = rotated(C, cBias, t, h, theta);
          const k = rotated(B, bBias, t, h, theta);
          const v = x.data.slice((t * H + h) * P, (t * H + h + 1) * P);
          for (let p = 0; p < P; p++) {
            let dot = 0;
            for (let n = 0; n < N; n++) {
              const before = decay * (S[p * N + n]! + (1 - mix) * step * value[p]! * key[n]!);
              S[p * N + n] = before + mix * step * v[p]! * k[n]!;
              dot += S[p * N + n]! * q[n]!;
            }
            y[(t * H + h) * P + p] = dot + (D ? D.data[h]! * v[p]! : 0);
          }
          [key, value] = [k, v];
        }
        const ends = { state: S, angleState: theta, keyState: key, valueState: value };
        for (const [name, pool] of next) {
          const width = pools[name as keyof typeof pools];
          if (slot >= 0) pool.set(ends[name as keyof typeof pools], (slot * H + h) * width);
        }
      }
    });
    const states = [...next].map(([name, data]) => [name, { shape: inputs[name as "x"].shape, data }]);
    return { y: { shape: x.shape, data: y }, ...Object.fromEntries(states) };
  },
});
