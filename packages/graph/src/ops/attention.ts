import { z } from "zod";
import { product, sum } from "../expr.js";
import { cuSeqlens, defineOp, optional, optionalState, tensor } from "../op.js";
import { eachSequence } from "../reference-math.js";

export const attention = defineOp("attention", {
  doc: "Causal attention, full or over a sliding window with sinks. The query at position i sees the key at position j ≤ i when window is 0, i − j < window or j < sinks; query head h reads key head ⌊h / (Hq/Hk)⌋. Rotary positions (Su et al. 2021) turn the first rotaryDims of each head, halves paired (i, i + rotaryDims/2) or, interleaved, (2i, 2i + 1). Keys, already rotated, and values of earlier runs live in a ring: position p in slot p when p < sinks, else sinks + (p − sinks) mod (Ring − sinks); Ring ≥ sinks + window − 1. Without a window nothing is forgotten: position p lies in slot p, and a sequence of more than Ring positions is refused.",
  attributes: z.object({
    /** Keys a query sees, itself included; 0 for all of them. */
    window: z.int().min(0),
    /** First positions that every query sees, beside a window. */
    sinks: z.int().min(0).default(0),
    /** Multiplies q·k; 0 stands for 1/√D. */
    scale: z.number().min(0).default(0),
    rotaryDims: z.int().min(0).default(0),
    rotaryBase: z.number().positive().default(10000),
    rotaryInterleaved: z.boolean().default(false),
  }),
  inputs: {
    q: tensor("T Hq D"),
    k: tensor("T Hk D"),
    v: tensor("T Hk D"),
    cuSeqlens: cuSeqlens(),
    /** Absolute position of each sequence's first token in this run; 0 when absent. */
    position: optional("S", "i64"),
    keys: optionalState("Slots Ring Hk D", "E"),
    values: optionalState("Slots Ring Hk D", "E"),
    stateIndex: optional("S", "i32"),
  },
  outputs: { y: tensor("T Hq D") },
  rules: [
    { rule: "Hk >= 1 && Hq % Hk == 0", expects: "query heads in equal groups, one for each key head" },
    {
      rule: "window >= 0 && sinks >= 0 && (window >= 1 || sinks == 0)",
      expects: "a window and sinks of no negative number of keys, and no sinks without a window",
    },
    {
      rule: "rotaryDims >= 0 && rotaryDims % 2 == 0 && rotaryDims <= D",
      expects: "an even number of rotary dimensions within a head",
    },
    { rule: "has(keys) == has(values)", expects: "keys and values together" },
    {
      rule: "!has(keys) || window == 0 && Ring >= 1 || window >= 1 && Ring >= sinks + window - 1 && (Ring > sinks || window == 1)",
      expects: "a ring for the sinks and window - 1 earlier keys",
    },
  ],
  cost: ({ T, Hq, Hk, D, Ring }, { window, sinks }) => ({
    // Without a window: all that a full ring holds, or half of the run by itself.
    flops: window > 0 ? product(4 * (window + sinks), T!, Hq!, D!) : product(Ring ? 4 : 2, Ring ?? T!, T!, Hq!, D!),
    bytes: product(4, T!, D!, sum(product(2, Hq!), product(2, Hk!))),
  }),
  // The rotated keys of this run and the cosines and sines of its tokens, so that each is made once; which 64 query rows of which
  // sequence a tile holds (two i32) and where the tiles of a sequence begin (i32); each part rounded up to 256 bytes.
  scratch: ({ T, S, Hq, Hk, D }, { rotaryDims }) => {
    const tiles = Math.ceil((T!.capacity * Hq!.constant!) / Hk!.constant! / 64) + S!.capacity;
    return sum(product(4, T!, Hk!, D!), product(4, T!, rotaryDims), 12 * tiles + 1280);
  },
  reference: ({ q, k, v, cuSeqlens, position, keys, values, stateIndex }, attributes) => {
    const { sinks, scale, rotaryDims, rotaryBase, rotaryInterleaved } = attributes;
    const window = attributes.window || Number.POSITIVE_INFINITY;
    const [T, Hq, D] = q.shape as [number, number, number];
    const Hk = k.shape[1]!;
    const factor = scale || 1 / Math.sqrt(D);
    const half = rotaryDims / 2;
    const rotated = (data: Float64Array, heads: number, t: number, h: number, at: number): Float64Array => {
      const row = data.slice((t * heads + h) * D, (t * heads + h + 1) * D);
      const out = Float64Array.from(row);
      for (let i = 0; i < half; i++) {
        const angle = at * rotaryBase ** (-i / half);
        const [a, b] = rotaryInterleaved ? [2 * i, 2 * i + 1] : [i, i + half];
        out[a] = row[a]! * Math.cos(angle) - row[b]! * Math.sin(angle);
        out[b] = row[b]! * Math.cos(angle) + row[a]! * Math.sin(angle);
      }
      return out;
    };
    const y = new Float64Array(T * Hq * D);
    const nextKeys = keys ? Float64Array.from(keys.data) : new Float64Array(0);
    const nextValues = values ? Float64Array.from(values.data) : new Float64Array(0);
    const ring = keys ? keys.shape[1]! : 0;
    const ringSlot = (p: number) => (p < sinks ? p : sinks + ((p - sinks) % (ring - sinks)));
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const start = position ? position.data[s]! : 0;
      const slot = stateIndex && keys ? stateIndex.data[s]! : -1;
      const oldest = slot >= 0 ? 0 : start; // positions before it were never seen
      for (let t = from; t < to; t++) {
        const i = start + t - from;
        const visible: number[] = [];
        for (let j = oldest; j < Math.min(sinks, i + 1); j++) visible.push(j);
        for (let j = Math.max(oldest, sinks, i - window + 1); j <= i; j++) visible.push(j);
        for (let h = 0; h < Hq; h++) {
          const kh = Math.floor(h / (Hq / Hk));
          const query = rotated(q.data, Hq, t, h, i);
          const rows = visible.map((j) => {
            if (j >= start) {
              const u = from + j - start;
              return [
                rotated(k.data, Hk, u, kh, j),
                v.data.subarray((u * Hk + kh) * D, (u * Hk + kh + 1) * D),
              ] as const;
            }
            const at = ((slot * ring + ringSlot(j)) * Hk + kh) * D;
            return [keys!.data.subarray(at, at + D), values!.data.subarray(at, at + D)] as const;
          });
          const scores = rows.map(([key]) => factor * key.reduce((sum, x, d) => sum + x * query[d]!, 0));
          const top = Math.max(...scores);
          const weights = scores.map((x) => Math.exp(x - top));
          const total = weights.reduce((a, b) => a + b, 0);
          rows.forEach(([, value], r) => {
            for (let d = 0; d < D; d++) y[(t * Hq + h) * D + d]! += (weights[r]! / total) * value[d]!;
          });
        }
      }
      if (slot < 0) return;
      for (let t = from; t < to; t++) {
        const p = start + t - from;
        if (p >= sinks && start + to - from - p > ring - sinks) continue;
        for (let h = 0; h < Hk; h++) {
          const at = ((slot * ring + ringSlot(p)) * Hk + h) * D;
          nextKeys.set(rotated(k.data, Hk, t, h, p), at);
          nextValues.set(v.data.subarray((t * Hk + h) * D, (t * Hk + h + 1) * D), at);
        }
      }
    });
    return {
      y: { shape: q.shape, data: y },
      ...(keys && { keys: { shape: keys.shape, data: nextKeys } }),
      ...(values && { values: { shape: values.shape, data: nextValues } }),
    };
  },
});
