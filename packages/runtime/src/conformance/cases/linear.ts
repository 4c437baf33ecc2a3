import { type CaseKit, defineCases, type OpCase } from "../cases.js";

const activations = ["identity", "silu", "gelu", "gelu_tanh", "relu", "relu2"] as const;
// Depths and widths around vectors, tiles and panels, and past one panel of depth and one block of columns.
const weights = [
  [1, 1],
  [2, 3],
  [129, 64],
  [64, 127],
  [300, 33],
] as const;
// Rows around a tile and around the change from dot products to packed panels.
const rows = [0, 1, 2, 3, 4, 5, 13, 32, 33, 127, 129];

/** A product that is the dt of a scan behind it, as in a layer of Mamba-1: steps of one token per sequence, and longer runs. */
function dtProduct(
  kit: CaseKit,
  lengths: number[],
  R: number,
  options: { C?: number; N?: number; bias?: boolean } = {},
): OpCase {
  const { random, borders, exact } = kit;
  const { C = 37, N = 16, bias = false } = options;
  const T = lengths.reduce((a, b) => a + b, 0);
  const S = lengths.length;
  return {
    name: `${JSON.stringify(lengths)} R=${R} ${JSON.stringify(options)}, then selective_scan`,
    symbols: { T, S },
    inputs: {
      x: random([T, R]),
      weight: random([C, R], { low: -0.2, high: 0.2 }),
      ...(bias && { bias: random([C]) }),
    },
    behind: {
      op: "selective_scan",
      reads: "dt",
      inputs: {
        x: random([T, C]),
        aLog: random([C, N], { low: -1, high: 2 }),
        B: random([T, N]),
        C: random([T, N]),
        D: random([C]),
        dtBias: random([C]),
        z: random([T, C], { low: -4, high: 4 }),
        cuSeqlens: borders(lengths),
        state: random([S + 2, C, N]),
        stateIndex: exact(
          [S],
          lengths.map((_, i) => (i === 1 ? -1 : S - i)),
        ),
      },
    },
  };
}

export default defineCases("linear", (kit) => {
  const { random } = kit;
  return [
    ...rows.flatMap((T) =>
      weights.map(([K, N]) => ({
        name: `T=${T} K=${K} N=${N}`,
        symbols: { T },
        inputs: { x: random([T, K], "normal"), weight: random([N, K]), bias: random([N]) },
      })),
    ),
    ...[3, 40].flatMap((T) =>
      activations.flatMap((activation) => [
        {
          name: `T=${T} ${activation}`,
          symbols: { T },
          attributes: { activation, outDtype: "f32" },
          inputs: { x: random([T, 37], "normal"), weight: random([101, 37]) },
        },
        {
          name: `T=${T} ${activation} bias`,
          symbols: { T },
          attributes: { activation },
          inputs: { x: random([T, 37], "normal"), weight: random([101, 37]), bias: random([101]) },
        },
      ]),
    ),
    ...[2, 35, 200].map((T) => ({
      name: `T=${T} wide`,
      symbols: { T },
      inputs: { x: random([T, 71], "normal"), weight: random([50, 71]), bias: random([50]) },
      wide: ["x", "weight"],
    })),
    {
      name: "T=1000 K=129 N=257",
      symbols: { T: 1000 },
      inputs: { x: random([1000, 129], "normal"), weight: random([257, 129]) },
    },
    {
      name: "T=70 K=600 N=801",
      symbols: { T: 70 },
      inputs: { x: random([70, 600], "normal"), weight: random([801, 600]), bias: random([801]) },
    },
    ...[8, 16, 48, 96, 128, 256].flatMap((R) => [
      dtProduct(kit, [1], R),
      dtProduct(kit, [1, 0, 1, 1], R, { C: 70, N: 13 }),
    ]),
    dtProduct(
      kit,
      Array.from({ length: 9 }, () => 1),
      48,
    ),
    dtProduct(kit, [1, 1], 48, { bias: true }),
    dtProduct(kit, [1, 1], 13),
    dtProduct(kit, [1], 48, { N: 20 }),
    dtProduct(kit, [3, 1], 48),
    {
      name: "T=1 K=3000 N=200",
      symbols: { T: 1 },
      inputs: { x: random([1, 3000], "normal"), weight: random([200, 3000]), bias: random([200]) },
    },
  ];
});
