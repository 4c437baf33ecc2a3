import { type CaseKit, defineCases, type OpCase } from "../cases.js";

interface Shape {
  lengths: number[];
  H?: number;
  P?: number;
  G?: number;
  N?: number;
  /** Angles; at most N / 2. */
  K?: number;
  /** Slot of each sequence; absent for no states. */
  slots?: number[];
  D?: boolean;
  dtBias?: boolean;
  aActivation?: "heavyTail" | "softplus";
  /** Ranges of the raw dt and a. */
  dt?: [number, number];
  a?: [number, number];
  trap?: [number, number];
  wide?: boolean;
  reverse?: boolean;
}

function scan({ random, borders, exact }: CaseKit, s: Shape): OpCase {
  const {
    lengths,
    H = 2,
    P = 32,
    G = 1,
    N = 32,
    K = N >> 2,
    slots,
    D = true,
    dtBias = true,
    wide = false,
    reverse = false,
  } = s;
  const { aActivation = "heavyTail", dt = [-5, 1], a = [-4, 3], trap = [-4, 4] } = s;
  const T = lengths.reduce((a, b) => a + b, 0);
  const pool = slots ? Math.max(0, ...slots) + 2 : 0;
  const between = (shape: number[], [low, high]: [number, number]) => random(shape, { low, high });
  return {
    name: JSON.stringify(s),
    attributes: { aActivation, aFloor: 1e-4, reverse },
    symbols: { T, S: lengths.length },
    inputs: {
      x: random([T, H, P]),
      dt: between([T, H], dt),
      a: between([T, H], a),
      trap: between([T, H], trap),
      angle: between([T, K], [-2, 2]),
      B: random([T, G, N]),
      C: random([T, G, N]),
      bBias: random([H, N]),
      cBias: random([H, N]),
      ...(D && { D: random([H]) }),
      ...(dtBias && { dtBias: random([H]) }),
      cuSeqlens: borders(lengths),
      ...(slots && {
        state: random([pool, H, P, N]),
        angleState: between([pool, H, K], [-3, 3]),
        keyState: random([pool, H, N]),
        valueState: random([pool, H, P]),
        stateIndex: exact([slots.length], slots),
      }),
    },
    wide: wide ? ["x", "dt", "a", "trap", "angle", "B", "C"] : [],
  };
}

/**
 * Δ and Θ are float32. The float64 recurrence with these two alone rounded is off by up to 1.7e-5 for dt of 10 to 15 and 2.7e-5 for 15 to 25
 * (200 random cases each, the states; y stays below 2e-7), as one step turns by up to 80 radians.
 */
const manyTurns = (one: OpCase): OpCase => ({
  ...one,
  bounds: { f32: 4e-5, why: "one step turns by up to 80 radians, whose last places float32 does not hold" },
});

export default defineCases("mamba3_scan", (kit) => [
  ...kit.sizes.flatMap((T) => [
    scan(kit, { lengths: [T], slots: [0] }),
    scan(kit, { lengths: [T], H: 3, P: 17, N: 13, K: 6, wide: true, D: false, aActivation: "softplus" }),
  ]),
  // Empty sequences at both ends and in between, slots in another order.
  scan(kit, { lengths: [0, 5, 300, 0, 1, 130, 9, 0], slots: [3, 7, 0, 6, -1, 2, 1, 4], G: 2, N: 16 }),
  scan(kit, { lengths: [1, 1, 1, 1], H: 6, P: 64, G: 3, N: 128, slots: [2, 0, -1, 3], wide: true }),
  scan(kit, { lengths: Array.from({ length: 40 }, (_, i) => i % 13), H: 1, P: 16, N: 16 }),
  scan(kit, { lengths: [0, 0], slots: [1, 0] }),
  // Heads and states of the sizes that models have, and odd ones around what kernels hold at once.
  scan(kit, { lengths: [70, 140], H: 4, P: 64, G: 2, N: 128, slots: [1, 0], wide: true }),
  scan(kit, { lengths: [50, 3], P: 65, N: 129, K: 64, slots: [0, -1], wide: true }),
  scan(kit, { lengths: [40], P: 130, N: 256, K: 128, slots: [0] }),
  ...[1, 2, 3, 31, 33, 63, 64, 65, 127].map((N) => scan(kit, { lengths: [33, 2], P: 5, N, K: N >> 1, slots: [1, 2] })),
  ...[1, 2, 3, 7, 64, 127, 129].map((P) => scan(kit, { lengths: [21], P, N: 24, slots: [0] })),
  scan(kit, { lengths: [90], N: 8, K: 1, slots: [0] }),
  // Without each of the optional operands.
  scan(kit, { lengths: [90], D: false, slots: [0] }),
  scan(kit, { lengths: [90], dtBias: false, slots: [0] }),
  // Small steps and the slowest decay; steps beyond softplus's bend, many turns each; states gone at once; one rule alone.
  scan(kit, { lengths: [500], dt: [-14, -8], slots: [0] }),
  scan(kit, { lengths: [500], dt: [-5, -3], a: [-20, -12], aActivation: "softplus", slots: [0] }),
  manyTurns(scan(kit, { lengths: [60], dt: [10, 15], slots: [0] })),
  manyTurns(scan(kit, { lengths: [60], dt: [15, 25], a: [50, 80], slots: [0] })),
  scan(kit, { lengths: [90], trap: [20, 90], slots: [0] }),
  scan(kit, { lengths: [90], trap: [-90, -20], slots: [0] }),
  // From the last token to the first.
  ...kit.sizes.map((T) => scan(kit, { lengths: [T], slots: [0], reverse: true })),
  scan(kit, { lengths: [0, 5, 300, 0, 1, 130, 9, 0], slots: [3, 7, 0, 6, -1, 2, 1, 4], wide: true, reverse: true }),
  scan(kit, { lengths: [40, 3], P: 65, N: 70, reverse: true }),
]);
