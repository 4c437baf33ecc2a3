import { defineCases } from "../cases.js";

export default defineCases("gated_rms_norm", ({ random, sizes }) => [
  ...[0, ...sizes].flatMap((T) =>
    [false, true].flatMap((normBeforeGate) =>
      (
        [
          [1, 1],
          [64, 1],
          [129, 3],
          [96, 4],
        ] as const
      ).map(([D, groups]) => ({
        name: `T=${T} D=${D} groups=${groups}${normBeforeGate ? " norm first" : ""}`,
        symbols: { T },
        attributes: { groups, normBeforeGate },
        inputs: { x: random([T, D], "normal"), gate: random([T, D], { low: -4, high: 4 }), weight: random([D]) },
      })),
    ),
  ),
  ...[1, 2, 3, 8, 9].flatMap((T) =>
    (
      [
        [8, 1, false],
        [13, 1, false],
        [768, 1, true],
        [1536, 1, false],
        [1536, 2, false],
        [2056, 1, false],
      ] as const
    ).map(([D, groups, normBeforeGate], i) => {
      const N = [7, 9, 8, 129, 24][(T + i) % 5]!;
      return {
        name: `T=${T} D=${D} groups=${groups}${normBeforeGate ? " norm first" : ""}, then a product of ${N}`,
        symbols: { T },
        attributes: { groups, normBeforeGate },
        inputs: { x: random([T, D], "normal"), gate: random([T, D], { low: -4, high: 4 }), weight: random([D]) },
        ...(i % 2 === 0 && { wide: ["x", "gate"] }),
        behind: { op: "linear", inputs: { weight: random([N, D]), ...(T !== 2 && { bias: random([N]) }) } },
      };
    }),
  ),
  {
    name: "long rows",
    symbols: { T: 3 },
    attributes: { groups: 1 },
    inputs: { x: random([3, 8197], "normal"), gate: random([3, 8197], "normal"), weight: random([8197]) },
  },
  ...[false, true].map((normBeforeGate) => ({
    name: `wide${normBeforeGate ? ", norm first" : ""}`,
    symbols: { T: 21 },
    attributes: { groups: 2, normBeforeGate, eps: 1e-2 },
    inputs: { x: random([21, 74], "normal"), gate: random([21, 74], "normal"), weight: random([74]) },
    wide: ["x", "gate"],
  })),
]);
