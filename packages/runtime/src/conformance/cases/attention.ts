import { type CaseKit, defineCases, type OpCase } from "../cases.js";

interface Shape {
  lengths: number[];
  window: number;
  ahead?: number;
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
  /** Global tokens of each sequence, as places in it. */
  globals?: number[][];
  /** Positions of the global tokens that each sequence has carried, ascending. */
  carried?: number[][];
}

/** Global tokens of the run, and the pools of those carried, with two places to spare in all slots but the fullest. */
function globalTokens({ random, borders, exact }: CaseKit, s: Shape, pool: number, Hk: number, D: number) {
  const { lengths, globals, carried = [], slots } = s;
  if (!globals) return {};
  let from = 0;
  const tokens = lengths.flatMap((n, i) => {
    from += n;
    return globals[i]!.map((g) => from - n + g);
  });
  const lists = { globals: exact([tokens.length], tokens), globalBorders: borders(globals.map((g) => g.length)) };
  if (!slots) return { tokens, inputs: lists };
  const kept = Math.max(1, ...globals.map((g, i) => g.length + (carried[i]?.length ?? 0)));
  const positions = new Array<number>(pool * kept).fill(0);
  slots.forEach((slot, i) => {
    if (slot < 0) return;
    carried[i]?.forEach((p, g) => {
      positions[slot * kept + g] = p + 1;
    });
  });
  return {
    tokens,
    inputs: {
      ...lists,
      globalKeys: random([pool, kept, Hk, D], { low: -2, high: 2 }),
      globalValues: random([pool, kept, Hk, D]),
      globalPositions: exact([pool, kept], positions),
    },
  };
}

function attend(kit: CaseKit, s: Shape): OpCase {
  const { random, borders, exact } = kit;
  const {
    lengths,
    window,
    ahead = 0,
    sinks = 0,
    Hq = 2,
    Hk = 1,
    D = 32,
    positions,
    slots,
    spare = 0,
    wide = false,
  } = s;
  const { rotaryDims = 0, rotaryInterleaved = false, rotaryBase = 10000, scale = 0 } = s;
  const T = lengths.reduce((a, b) => a + b, 0);
  const pool = slots ? Math.max(0, ...slots) + 2 : 0;
  const last = Math.max(1, ...lengths.map((n, i) => n + (positions?.[i] ?? 0)));
  const ring = window > 0 ? sinks + Math.max(1, window - 1 + spare) : last + spare;
  const global = globalTokens(kit, s, pool, Hk, D);
  return {
    name: JSON.stringify(s),
    attributes: { window, ahead, sinks, scale, rotaryDims, rotaryBase, rotaryInterleaved },
    symbols: { T, S: lengths.length, ...(global.tokens && { G: global.tokens.length }) },
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
      ...global.inputs,
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
  ...[1, 2, 3, 127, 129, 260].flatMap((T) => [
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
  // Ahead as far as behind, further, to the end; sinks and positions beside.
  ...[1, 2, 3, 127, 129, 260].flatMap((T) => [
    attend(kit, { lengths: [T], window: 20, ahead: 19, wide: true }),
    attend(kit, { lengths: [T], window: 0, ahead: -1, Hq: 3, Hk: 3, D: 20, rotaryDims: 20 }),
  ]),
  ...[
    [1, 70],
    [30, 1],
    [64, 64],
    [0, 5],
    [5, -1],
  ].map(([window, ahead]) =>
    attend(kit, {
      lengths: [0, 5, 1, 140, 0, 66],
      window: window!,
      ahead: ahead!,
      sinks: window! > 0 ? 3 : 0,
      D: 40,
      rotaryDims: 8,
      positions: [9, 3, 64, 130, 5, 0],
    }),
  ),
  // Global tokens ahead and behind, as all, as none, in every place of a block; with sinks among them.
  ...[
    { window: 9, ahead: 8 },
    { window: 1, ahead: -1 },
    { window: 100, ahead: 3, sinks: 2 },
    { window: 20, sinks: 5 },
    { window: 1 },
    { window: 0 },
  ].map((pattern) =>
    attend(kit, {
      ...pattern,
      lengths: [3, 0, 200, 1, 130],
      globals: [
        [0, 1, 2],
        [],
        [0, 3, 63, 64, 65, 150, 199],
        [0],
        Array.from({ length: 130 }, (_, i) => i).filter((i) => i % 2 === 0),
      ],
      Hq: 4,
      Hk: 2,
      D: 24,
      rotaryDims: 24,
      wide: true,
    }),
  ),
  // Causal ones that are carried, seen again by sequences that come back in other slots.
  ...[{ window: 1, sinks: 0 }, { window: 16, sinks: 3 }, { window: 300, sinks: 0 }, { window: 0 }].map((pattern) =>
    attend(kit, {
      ...pattern,
      lengths: [70, 0, 1, 5, 129, 2],
      globals: [[0, 69], [], [0], [], [7, 8, 90], [1]],
      positions: [200, 9, 40, 300, 500, 0],
      carried: [[0, 1, 130, 199], [4], [], [2, 290], Array.from({ length: 67 }, (_, i) => 7 * i), []],
      slots: [2, 5, 0, 3, 1, -1],
      D: 40,
      rotaryDims: 8,
      wide: true,
    }),
  ),
  // Head sizes of every kernel, in groups and alone, carried and ahead.
  ...[7, 64, 80, 128, 129, 200, 256].flatMap((D) => {
    const globals = [
      [0, 31, 69],
      [2, 32],
    ];
    const common = { lengths: [70, 33], D, globals, rotaryDims: D - (D % 2), rotaryInterleaved: D === 80 };
    return [
      attend(kit, {
        ...common,
        window: 50,
        sinks: 2,
        Hq: 3,
        Hk: 3,
        slots: [1, -1],
        positions: [200, 0],
        carried: [[3, 90, 149, 150], []],
      }),
      attend(kit, { ...common, window: 20, ahead: 11, Hq: 6, Hk: 2, wide: D % 2 === 0 }),
    ];
  }),
  attend(kit, { lengths: [90], window: 40, scale: 0.5, D: 8 }),
  attend(kit, { lengths: [130], window: 40, positions: [77], rotaryDims: 16, D: 16 }),
  attend(kit, { lengths: [0, 0], window: 4, slots: [1, 0] }),
]);
