import { type CaseKit, defineCases, type OpCase } from "../cases.js";

interface Shape {
  lengths: number[];
  window: number;
  sinks?: number;
  Hq?: number;
  Hk?: number;
  D?: number;
  rotaryDims?: number;
  rotaryInterleaved?: boolean;
  rotaryBase?: number;
  scale?: number;
  /** Position of each sequence's first token; absent for 0. */
  positions?: number[];
  /** Slot of each sequence; absent for no state. */
  slots?: number[];
  /** Ring slots beyond the sinks and window − 1, or, without a window, beyond the last position. */
  spare?: number;
  wide?: boolean;
}

function attend({ random, borders, exact }: CaseKit, s: Shape): OpCase {
  const { lengths, window, sinks = 0, Hq = 2, Hk = 1, D = 32, positions, slots, spare = 0, wide = false } = s;
  const { rotaryDims = 0, rotaryInterleaved = false, rotaryBase = 10000, scale = 0 } = s;
  const T = lengths.reduce((a, b) => a + b, 0);
  const pool = slots ? Math.max(0, ...slots) + 2 : 0;
  const last = Math.max(1, ...lengths.map((n, i) => n + (positions?.[i] ?? 0)));
  const ring = window > 0 ? sinks + Math.max(1, window - 1 + spare) : last + spare;
  return {
    name: JSON.stringify(s),
    attributes: { window, sinks, scale, rotaryDims, rotaryBase, rotaryInterleaved },
    symbols: { T, S: lengths.length },
    inputs: {
      q: random([T, Hq, D], { low: -2, high: 2 }),
      k: random([T, Hk, D], { low: -2, high: 2 }),
      v: random([T, Hk, D]),
      cuSeqlens: borders(lengths),
      ...(positions && { position: exact([positions.length], positions) }),
      ...(slots && {
        keys: random([pool, ring, Hk, D], { low: -2, high: 2 }),
        values: random([pool, ring, Hk, D]),
        stateIndex: exact([slots.length], slots),
      }),
    },
    wide: wide ? ["q", "k", "v"] : [],
  };
}

export default defineCases("attention", (kit) => [
  ...kit.sizes.flatMap((T) => [
    // The window is smaller than the run, as long, longer.
    attend(kit, { lengths: [T], window: 16, sinks: 3, rotaryDims: 32, slots: [0], positions: [T === 2 ? 1 : 40] }),
    attend(kit, { lengths: [T], window: Math.min(T, 129), D: 40, wide: true }),
    attend(kit, { lengths: [T], window: 1200, D: 16, Hq: 1, slots: [1] }),
  ]),
  // Head sizes and groups.
  ...[1, 7, 32, 50, 64, 80, 128, 129].map((D) =>
    attend(kit, { lengths: [70, 33], window: 50, sinks: 2, D, Hq: 3, Hk: 3, slots: [1, -1], positions: [200, 0] }),
  ),
  ...[
    [1, 1],
    [4, 2],
    [6, 1],
    [140, 2],
  ].map(([Hq, Hk]) => attend(kit, { lengths: [67], window: 30, sinks: 1, D: 16, Hq: Hq!, Hk: Hk! })),
  // Empty sequences, all kinds of beginnings, slots in another order, rings with places to spare.
  ...[1, 2, 5, 64, 100].flatMap((window) =>
    [0, 1, 4, 70].map((sinks) =>
      attend(kit, {
        lengths: [0, 5, 1, 140, 0, 1, 66],
        window,
        sinks,
        D: 20,
        rotaryDims: 8,
        positions: [9, 3, 64, 130, 5, 1000, 0],
        slots: [2, 5, 0, 3, 1, -1, 4],
        spare: window % 3,
        wide: true,
      }),
    ),
  ),
  // Rotations: whole, partial, adjacent pairs, far away, another base.
  ...[64, 24, 2].flatMap((rotaryDims) =>
    [false, true].map((rotaryInterleaved) =>
      attend(kit, {
        lengths: [20, 30],
        window: 24,
        sinks: 2,
        D: 64,
        rotaryDims,
        rotaryInterleaved,
        rotaryBase: rotaryDims === 24 ? 500_000 : 10_000,
        positions: [1_000_000_007, 12],
        slots: [0, 1],
      }),
    ),
  ),
  // No window: every size, behind nothing and behind what is carried, rings that are just full.
  ...kit.sizes.flatMap((T) => [
    attend(kit, { lengths: [T], window: 0, rotaryDims: 32, wide: true }),
    attend(kit, {
      lengths: [T],
      window: 0,
      Hq: 3,
      Hk: 3,
      D: 20,
      slots: [1],
      positions: [T === 3 ? 0 : 130],
      spare: T % 2,
    }),
  ]),
  attend(kit, {
    lengths: [0, 5, 1, 140, 0, 1, 66],
    window: 0,
    D: 40,
    rotaryDims: 8,
    positions: [9, 3, 64, 130, 5, 300, 0],
    slots: [2, 5, 0, 3, 1, -1, 4],
    wide: true,
  }),
  attend(kit, { lengths: [90], window: 40, scale: 0.5, D: 8 }),
  attend(kit, { lengths: [130], window: 40, positions: [77], rotaryDims: 16, D: 16 }),
  attend(kit, { lengths: [0, 0], window: 4, slots: [1, 0] }),
]);
