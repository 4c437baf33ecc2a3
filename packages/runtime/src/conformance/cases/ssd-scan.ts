import { type CaseKit, defineCases, type OpCase } from "../cases.js";

interface Shape {
  lengths: number[];
  H?: number;
  P?: number;
  G?: number;
  N?: number;
  chunkSize?: number;
  /** Slot of each sequence; absent for no state. */
  slots?: number[];
  /** D per head, per channel, or none. */
  D?: "head" | "channel" | "none";
  dtBias?: boolean;
  dtSoftplus?: boolean;
  limits?: [number, number];
  /** Range of aLog; A = −exp(aLog). */
  decay?: [number, number];
  wide?: boolean;
  reverse?: boolean;
}

function scan({ random, borders, exact }: CaseKit, s: Shape): OpCase {
  const { lengths, H = 2, P = 32, G = 1, N = 32, chunkSize = 64, slots, D = "head", wide = false, reverse = false } = s;
  const { dtBias = true, dtSoftplus = true, limits, decay = [-2, 1] } = s;
  const T = lengths.reduce((a, b) => a + b, 0);
  const pool = slots ? Math.max(0, ...slots) + 2 : 0;
  return {
    name: JSON.stringify(s),
    attributes: { chunkSize, dtSoftplus, reverse, ...(limits && { dtMin: limits[0], dtMax: limits[1] }) },
    symbols: { T, S: lengths.length },
    inputs: {
      x: random([T, H, P]),
      dt: dtSoftplus ? random([T, H], { low: -4, high: 2 }) : random([T, H], { low: 0, high: 0.5 }),
      aLog: random([H], { low: decay[0], high: decay[1] }),
      B: random([T, G, N]),
      C: random([T, G, N]),
      ...(D !== "none" && { D: random([H, D === "head" ? 1 : P]) }),
      ...(dtBias && { dtBias: random([H]) }),
      cuSeqlens: borders(lengths),
      ...(slots && { state: random([pool, H, P, N]), stateIndex: exact([slots.length], slots) }),
    },
    wide: wide ? ["x", "dt", "B", "C"] : [],
  };
}

/** Twenty long steps of nothing, after which short ones matter: cumulated exponents are large, their differences small. */
function afterJump(kit: CaseKit): OpCase {
  const one = scan(kit, {
    lengths: [256],
    chunkSize: 256,
    dtSoftplus: false,
    dtBias: false,
    D: "none",
    decay: [3, 3.5],
  });
  const { x, dt } = one.inputs;
  const heads = dt!.shape[1]!;
  dt!.data = dt!.data.map((v, i) => (i < 20 * heads ? 50 : v / 10));
  x!.data.fill(0, 0, 20 * heads * x!.shape[2]!);
  return { ...one, name: "after a jump" };
}

export default defineCases("ssd_scan", (kit) => [
  ...kit.sizes.flatMap((T) => [
    scan(kit, { lengths: [T], slots: [0] }),
    scan(kit, { lengths: [T], H: 3, P: 17, N: 13, chunkSize: 37, wide: true, D: "none" }),
  ]),
  ...[1, 2, 7, 8, 9, 16, 63, 100, 128, 255, 256].flatMap((chunkSize) => [
    // Empty sequences at both ends and in between, slots in another order.
    scan(kit, {
      lengths: [0, 5, 300, 0, 1, 130, 9, 0],
      slots: [3, 7, 0, 6, -1, 2, 1, 4],
      chunkSize,
      H: 2,
      G: 2,
      N: 16,
    }),
    scan(kit, { lengths: [263], H: 2, P: 8, N: 8, chunkSize, dtBias: false }),
  ]),
  // Heads and states of the sizes that models have, and odd ones.
  scan(kit, { lengths: [70, 140], H: 4, P: 64, G: 2, N: 128, slots: [1, 0], wide: true }),
  scan(kit, { lengths: [150], H: 2, P: 128, N: 64, slots: [0], D: "channel" }),
  scan(kit, { lengths: [150, 3], H: 2, P: 65, N: 129, slots: [0, -1], D: "channel", wide: true }),
  // One number a state, whose terms may cancel: of many sequences, so that one of them is not all that is compared.
  scan(kit, {
    lengths: Array.from({ length: 24 }, (_, i) => 90 - i),
    H: 1,
    P: 1,
    N: 1,
    slots: Array.from({ length: 24 }, (_, i) => 23 - i),
    D: "channel",
  }),
  scan(kit, { lengths: [90], H: 1, P: 5, N: 300, slots: [0] }),
  scan(kit, { lengths: [90, 3], H: 1, P: 5, N: 0, slots: [0, 1] }),
  scan(kit, { lengths: [1, 1, 1, 1], H: 6, P: 64, G: 3, N: 128, slots: [2, 0, -1, 3], wide: true }),
  // More sequences than heads times threads, and fewer.
  scan(kit, { lengths: Array.from({ length: 40 }, (_, i) => i % 13), H: 1, P: 16, N: 16, chunkSize: 5 }),
  scan(kit, { lengths: [1000], H: 1, P: 16, N: 16, chunkSize: 32, slots: [1] }),
  // Steps that reach both limits; states that hardly fade and states that are gone at once.
  scan(kit, { lengths: [200], limits: [0.05, 0.2], slots: [0] }),
  scan(kit, { lengths: [200], dtSoftplus: false, dtBias: false, slots: [0] }),
  scan(kit, { lengths: [700], decay: [-9, -6], chunkSize: 128, slots: [0] }),
  scan(kit, { lengths: [700], decay: [3, 6], chunkSize: 256, slots: [0] }),
  scan(kit, { lengths: [300], decay: [80, 88], slots: [0] }),
  afterJump(kit),
  scan(kit, { lengths: [0, 0], slots: [1, 0] }),
  // From the last token to the first.
  ...kit.sizes.map((T) => scan(kit, { lengths: [T], slots: [0], reverse: true })),
  ...[1, 8, 37, 64].map((chunkSize) =>
    scan(kit, {
      lengths: [0, 5, 300, 0, 1, 130, 9, 0],
      slots: [3, 7, 0, 6, -1, 2, 1, 4],
      chunkSize,
      G: 2,
      wide: true,
      reverse: true,
    }),
  ),
  ...[64, 128].flatMap((chunkSize) =>
    [64, 128].map((N) =>
      scan(kit, {
        lengths: [70, 300, 1],
        H: 4,
        P: 64,
        G: 2,
        N,
        chunkSize,
        slots: [1, 0, -1],
        wide: true,
        reverse: true,
      }),
    ),
  ),
  scan(kit, { lengths: [0, 0], slots: [1, 0], reverse: true }),
]);
