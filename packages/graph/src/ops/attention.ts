import { z } from "zod";
import { product, sum } from "../expr.js";
import { cuSeqlens, defineOp, optional, optionalState, type ReferenceTensor, tensor } from "../op.js";
import { eachSequence } from "../reference-math.js";

export const attention = defineOp("attention", {
  doc: "Attention, full or over a window, with sinks and global tokens. The query at position i sees the key at position j of its sequence when j ≤ i + ahead and (window is 0, i − j < window or j < sinks), when j is global and j ≤ i, and, where ahead is not 0, when i or j is global. Query head h reads key head ⌊h / (Hq/Hk)⌋. Rotary positions (Su et al. 2021) turn the first rotaryDims of each head, halves paired (i, i + rotaryDims/2) or, interleaved, (2i, 2i + 1). Keys, already rotated, and values of earlier runs live in a ring: position p in slot p when p < sinks, else sinks + (p − sinks) mod (Ring − sinks); Ring ≥ sinks + window − 1. Without a window nothing is forgotten: position p lies in slot p, and a sequence of more than Ring positions is refused. The g-th global token of a sequence lies in place g of its own pool, whose globalPositions are position + 1, or 0 where nothing is; more than Kept of them are refused.",
  attributes: z.object({
    /** Keys a query sees, itself included; 0 for all of them. */
    window: z.int().min(0),
    /** Keys behind itself in time that a query sees; −1 for all of them. Only 0, which is causal, goes with carried keys. */
    ahead: z.int().min(-1).default(0),
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
    /** The global tokens of this run, ascending, and where those of each sequence begin. */
    globals: optional("G", "i32"),
    globalBorders: optional("S+1", "i32"),
    globalKeys: optionalState("Slots Kept Hk D", "E"),
    globalValues: optionalState("Slots Kept Hk D", "E"),
    globalPositions: optionalState("Slots Kept", "i64"),
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
      rule: "ahead + 1 >= 0 && (ahead == 0 || !has(keys))",
      expects: "a number of keys ahead, and none where keys are carried",
    },
    { rule: "has(globals) == has(globalBorders)", expects: "global tokens and their borders together" },
    {
      rule: "has(globalKeys) == (has(globals) && has(keys)) && has(globalKeys) == has(globalValues) && has(globalKeys) == has(globalPositions)",
      expects: "keys, values and positions of global tokens exactly where there are some and keys are carried",
    },
    {
      rule: "!has(keys) || window == 0 && Ring >= 1 || window >= 1 && Ring >= sinks + window - 1 && (Ring > sinks || window == 1)",
      expects: "a ring for the sinks and window - 1 earlier keys",
    },
  ],
  cost: ({ T, Hq, Hk, D, Ring }, { window, ahead, sinks }) => ({
    // Without a window: all that a full ring holds, or half of the run by itself, or, looking ahead, all of it.
    flops:
      window > 0 && ahead >= 0
        ? product(4 * (window + ahead + sinks), T!, Hq!, D!)
        : product(Ring || ahead !== 0 ? 4 : 2, Ring ?? T!, T!, Hq!, D!),
    bytes: product(4, T!, D!, sum(product(2, Hq!), product(2, Hk!))),
  }),
  // The rotated keys of this run and the cosines and sines of its tokens, so that each is made once; which 64 query rows of which
  // sequence a tile holds (two i32) and where the tiles of a sequence begin (i32), for tiles of global queries too, and how many
  // global tokens a sequence has carried (i32); each part rounded up to 256 bytes.
  scratch: ({ T, S, Hq, Hk, D, G }, { rotaryDims }) => {
    const tiles = (rows: number) => Math.ceil((rows * Hq!.constant!) / Hk!.constant! / 64) + S!.capacity;
    const all = tiles(T!.capacity) + (G ? tiles(G.capacity) + S!.capacity : 0);
    return sum(product(4, T!, Hk!, D!), product(4, T!, rotaryDims), 12 * all + 2560);
  },
  reference: (inputs, attributes) => {
    const { q, k, v, cuSeqlens, position, keys, values, stateIndex, globals, globalBorders } = inputs;
    const { globalKeys, globalValues, globalPositions } = inputs;
    const { sinks, scale, rotaryDims, rotaryBase, rotaryInterleaved } = attributes;
    const window = attributes.window || Number.POSITIVE_INFINITY;
    const ahead = attributes.ahead < 0 ? Number.POSITIVE_INFINITY : attributes.ahead;
    const [T, Hq, D] = q.shape as [number, number, number];
    const Hk = k.shape[1]!;
    const factor = scale || 1 / Math.sqrt(D);
    const half = rotaryDims / 2;
    const rotated = (data: Float64Array, heads: number, t: number, h: number, at: number): Float64Array => {
      const row = data.subarray((t * heads + h) * D, (t * heads + h + 1) * D);
      const out = row.slice();
      for (let i = 0; i < half; i++) {
        const angle = at * rotaryBase ** (-i / half);
        const [a, b] = rotaryInterleaved ? [2 * i, 2 * i + 1] : [i, i + half];
        out[a] = row[a]! * Math.cos(angle) - row[b]! * Math.sin(angle);
        out[b] = row[b]! * Math.cos(angle) + row[a]! * Math.sin(angle);
      }
      return out;
    };
    const y = new Float64Array(T * Hq * D);
    const next = mapStates({ keys, values, globalKeys, globalValues, globalPositions });
    const ring = keys ? keys.shape[1]! : 0;
    const kept = globalKeys ? globalKeys.shape[1]! : 0;
    const ringSlot = (p: number) => (p < sinks ? p : sinks + ((p - sinks) % (ring - sinks)));
    eachSequence(cuSeqlens.data, (s, from, to) => {
      const start = position ? position.data[s]! : 0;
      const slot = stateIndex && keys ? stateIndex.data[s]! : -1;
      const oldest = slot >= 0 ? 0 : start; // positions before it were never seen
      // Carried global tokens, then those of this run: position → place in the pool.
      const places = new Map<number, number>();
      for (let g = 0; globalPositions && slot >= 0 && g < kept; g++) {
        const p = globalPositions.data[slot * kept + g]! - 1;
        if (p >= 0) places.set(p, g);
      }
      if (globals && globalBorders)
        for (let g = globalBorders.data[s]!; g < globalBorders.data[s + 1]!; g++)
          places.set(start + globals.data[g]! - from, places.size);
      const sees = (i: number, j: number): boolean =>
        (j <= i + ahead && (i - j < window || j < sinks)) ||
        (places.has(j) && (j <= i || ahead !== 0)) ||
        (places.has(i) && ahead !== 0);
      // Positions that position i may see, ascending. Far on in a sequence there are too many to ask of each.
      const candidates = (i: number): number[] => {
        const near = ahead === 0 && Number.isFinite(window) ? Math.max(oldest, i - window + 1) : oldest;
        const far = Array.from({ length: Math.max(0, Math.min(sinks, near) - oldest) }, (_, n) => oldest + n);
        for (const j of places.keys()) if (j >= Math.max(oldest, sinks) && j < near) far.push(j);
        const end = ahead === 0 ? i + 1 : start + to - from;
        return [...far.sort((a, b) => a - b), ...Array.from({ length: end - near }, (_, n) => near + n)];
      };
      // The rotated keys of this run.
      const turned = Array.from({ length: (to - from) * Hk }, (_, n) => {
        const t = Math.floor(n / Hk);
        return rotated(k.data, Hk, from + t, n % Hk, start + t);
      });
      const row = (i: number, j: number, h: number): readonly [Float64Array, Float64Array] => {
        if (j >= start) {
          const u = from + j - start;
          return [turned[(j - start) * Hk + h]!, v.data.subarray((u * Hk + h) * D, (u * Hk + h + 1) * D)];
        }
        // Whatever lies outside the window is a global token.
        const inRing = j < sinks || i - j < window;
        const at = ((inRing ? slot * ring + ringSlot(j) : slot * kept + places.get(j)!) * Hk + h) * D;
        const [pool, other] = inRing ? [keys!, values!] : [globalKeys!, globalValues!];
        return [pool.data.subarray(at, at + D), other.data.subarray(at, at + D)];
      };
      for (let t = from; t < to; t++) {
        const i = start + t - from;
        const visible: number[] = [];
        for (const j of candidates(i)) if (sees(i, j)) visible.push(j);
        for (let h = 0; h < Hq; h++) {
          const query = rotated(q.data, Hq, t, h, i);
          const rows = visible.map((j) => row(i, j, Math.floor(h / (Hq / Hk))));
          const scores = rows.map(([key]) => {
            let sum = 0;
            for (let d = 0; d < D; d++) sum += key[d]! * query[d]!;
            return factor * sum;
          });
          const top = scores.reduce((a, b) => Math.max(a, b));
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
        const put = (name: "keys" | "globalKeys", other: "values" | "globalValues", place: number) => {
          for (let h = 0; h < Hk; h++) {
            next[name]!.data.set(turned[(t - from) * Hk + h]!, (place * Hk + h) * D);
            next[other]!.data.set(v.data.subarray((t * Hk + h) * D, (t * Hk + h + 1) * D), (place * Hk + h) * D);
          }
        };
        const place = places.get(p);
        if (place !== undefined && globalPositions) {
          put("globalKeys", "globalValues", slot * kept + place);
          next.globalPositions!.data[slot * kept + place] = p + 1;
        }
        if (p >= sinks && start + to - from - p > ring - sinks) continue;
        put("keys", "values", slot * ring + ringSlot(p));
      }
    });
    return { y: { shape: q.shape, data: y }, ...next };
  },
});

/** Copies of the states that are there, to be updated. */
function mapStates(states: Record<string, ReferenceTensor | undefined>): Record<string, ReferenceTensor> {
  const there = Object.entries(states).flatMap(([name, s]) => (s ? [[name, s] as const] : []));
  return Object.fromEntries(there.map(([name, { shape, data }]) => [name, { shape, data: Float64Array.from(data) }]));
}
