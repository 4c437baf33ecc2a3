import { type CaseKit, defineCases, type OpCase } from "../cases.js";

interface Shape {
  lengths: number[];
  C?: number;
  N?: number;
  /** Slot of each sequence; absent for no state. */
  slots?: number[];
  D?: boolean;
  dtBias?: boolean;
  z?: boolean;
  dtSoftplus?: boolean;
  /** Range of the raw dt. */
  dt?: [number, number];
  /** Range of aLog; A = −exp(aLog). */
  decay?: [number, number];
  wide?: boolean;
  reverse?: boolean;
}

function scan({ random, borders, exact }: CaseKit, s: Shape): OpCase {
  const { lengths, C = 32, N = 16, slots, D = true, dtBias = true, z = true, wide = false, reverse = false } = s;
  const { dtSoftplus = true, dt = dtSoftplus ? [-4, 2] : [0, 0.5], decay = [-1, 2.8] } = s;
  const T = lengths.reduce((a, b) => a + b, 0);
  const pool = slots ? Math.max(0, ...slots) + 2 : 0;
  return {
    name: JSON.stringify(s),
    attributes: { dtSoftplus, reverse },
    symbols: { T, S: lengths.length },
    inputs: {
      x: random([T, C]),
      dt: random([T, C], { low: dt[0], high: dt[1] }),
      aLog: random([C, N], { low: decay[0], high: decay[1] }),
      B: random([T, N]),
      C: random([T, N]),
      ...(D && { D: random([C]) }),
      ...(dtBias && { dtBias: random([C]) }),
      ...(z && { z: random([T, C], { low: -4, high: 4 }) }),
      cuSeqlens: borders(lengths),
      ...(slots && { state: random([pool, C, N]), stateIndex: exact([slots.length], slots) }),
    },
    wide: wide ? ["x", "dt", "B", "C", ...(z ? ["z"] : [])] : [],
  };
}

export default defineCases("selective_scan", (kit) => [
  ...[...kit.sizes, 15, 16, 17, 31, 32, 33, 64].flatMap((T) => [
    scan(kit, { lengths: [T], slots: [0] }),
    scan(kit, { lengths: [T], C: 37, N: 13, wide: true, D: false, z: false }),
  ]),
  // Channels around the blocks that kernels cut, states around the sizes they unroll.
  ...[1, 3, 4, 7, 8, 12, 16, 17, 63, 64, 65, 130].map((C) => scan(kit, { lengths: [40, 3], C, slots: [1, -1] })),
  ...[1, 2, 3, 4, 5, 8, 15, 17, 20, 32, 33, 64, 100, 128, 200, 256].flatMap((N) => [
    scan(kit, { lengths: [70, 1], C: 21, N, slots: [0, 2] }),
    scan(kit, { lengths: [35], C: 8, N, wide: true }),
  ]),
  // Empty sequences at both ends and in between, slots in another order.
  scan(kit, { lengths: [0, 5, 300, 0, 1, 130, 9, 0], slots: [3, 7, 0, 6, -1, 2, 1, 4], C: 48 }),
  scan(kit, { lengths: [0, 5, 300, 0, 1, 130, 9, 0], slots: [3, 7, 0, 6, -1, 2, 1, 4], C: 20, N: 24, wide: true }),
  scan(kit, { lengths: [1, 1, 1, 1], C: 64, slots: [2, 0, -1, 3], wide: true }),
  scan(kit, { lengths: Array.from({ length: 40 }, (_, i) => i % 13), C: 16 }),
  scan(kit, { lengths: [0, 0], slots: [1, 0] }),
  // Without each of the optional operands.
  scan(kit, { lengths: [90], D: false, slots: [0] }),
  scan(kit, { lengths: [90], dtBias: false, slots: [0] }),
  scan(kit, { lengths: [90], z: false, slots: [0] }),
  scan(kit, { lengths: [200], dtSoftplus: false, dtBias: false, slots: [0] }),
  // Steps far down softplus's tail and beyond its bend; states that hardly fade and states that are gone at once.
  scan(kit, { lengths: [200], dt: [-16, -8], slots: [0] }),
  scan(kit, { lengths: [200], dt: [15, 25], slots: [0] }),
  scan(kit, { lengths: [700], decay: [-9, -6], slots: [0] }),
  scan(kit, { lengths: [300], decay: [4, 7], slots: [0] }),
  scan(kit, { lengths: [300], decay: [80, 89], slots: [0] }),
  // Long ones that may be scanned in segments: what is before them forgotten soon, late or never.
  scan(kit, { lengths: [5000], C: 37, slots: [0] }),
  scan(kit, { lengths: [2100, 0, 2700], C: 33, N: 13, slots: [2, 1, 0], wide: true }),
  scan(kit, { lengths: [4100], C: 20, dt: [-3, 0], decay: [-3, -1], slots: [0] }),
  scan(kit, { lengths: [4100], C: 20, dt: [-9, -7], decay: [-3, 0], slots: [0] }),
  scan(kit, { lengths: [4100], C: 20, slots: [1], reverse: true }),
  // From the last token to the first.
  ...kit.sizes.map((T) => scan(kit, { lengths: [T], C: 37, slots: [0], reverse: true })),
  ...[16, 24].map((N) =>
    scan(kit, {
      lengths: [0, 5, 300, 0, 1, 130, 9, 0],
      slots: [3, 7, 0, 6, -1, 2, 1, 4],
      N,
      wide: true,
      reverse: true,
    }),
  ),
  scan(kit, { lengths: [40, 3], C: 64, reverse: true }),
  scan(kit, { lengths: [0, 0], slots: [1, 0], reverse: true }),
]);
