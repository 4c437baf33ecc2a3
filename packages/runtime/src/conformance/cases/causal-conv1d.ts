import { type CaseKit, defineCases, type OpCase } from "../cases.js";

interface Shape {
  lengths: number[];
  C: number;
  W: number;
  activation?: "identity" | "silu";
  bias?: boolean;
  /** Slot of each sequence; absent for no state. */
  slots?: number[];
  wide?: boolean;
  reverse?: boolean;
}

function conv({ random, borders, exact }: CaseKit, s: Shape): OpCase {
  const { lengths, C, W, activation = "silu", bias = true, slots, wide = false, reverse = false } = s;
  const T = lengths.reduce((a, b) => a + b, 0);
  const pool = slots ? Math.max(0, ...slots) + 2 : 0;
  return {
    name: JSON.stringify(s),
    attributes: { activation, reverse },
    symbols: { T, S: lengths.length },
    inputs: {
      x: random([T, C]),
      weight: random([C, W]),
      ...(bias && { bias: random([C]) }),
      cuSeqlens: borders(lengths),
      ...(slots && { state: random([pool, W - 1, C]), stateIndex: exact([slots.length], slots) }),
    },
    wide: wide ? ["x"] : [],
  };
}

export default defineCases("causal_conv1d", (kit) => [
  ...kit.sizes.flatMap((T) => [
    conv(kit, { lengths: [T], C: 96, W: 4, slots: [0] }),
    conv(kit, { lengths: [T], C: 257, W: 3, wide: true }),
  ]),
  ...[1, 2, 3, 4, 5, 8, 9, 31].flatMap((W) => [
    // Runs shorter than what is carried, empty sequences at both ends and in between, slots in another order.
    conv(kit, { lengths: [0, 2, 1, 0, 70, 3, 0], C: 40, W, slots: [3, 5, 0, -1, 2, 1, 4], wide: true }),
    conv(kit, { lengths: [9, 1], C: 7, W, slots: [-1, 0], activation: "identity", bias: false }),
  ]),
  conv(kit, { lengths: [0, 0], C: 16, W: 4, slots: [1, 0] }),
  conv(kit, { lengths: [65, 64, 63], C: 300, W: 4, activation: "identity" }),
  conv(kit, { lengths: [1, 1, 1], C: 1, W: 2, slots: [2, -1, 0] }),
  // From the last token to the first.
  ...kit.sizes.map((T) => conv(kit, { lengths: [T], C: 96, W: 4, slots: [0], reverse: true })),
  ...[1, 2, 4, 9].map((W) =>
    conv(kit, { lengths: [0, 2, 1, 0, 70, 3, 0], C: 40, W, slots: [3, 5, 0, -1, 2, 1, 4], wide: true, reverse: true }),
  ),
  conv(kit, { lengths: [9, 1], C: 7, W: 3, reverse: true }),
  conv(kit, { lengths: [0, 0], C: 16, W: 4, slots: [1, 0], reverse: true }),
]);
