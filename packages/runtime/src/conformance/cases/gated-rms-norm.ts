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
  ...[false, true].map((normBeforeGate) => ({
    name: `wide${normBeforeGate ? ", norm first" : ""}`,
    symbols: { T: 21 },
    attributes: { groups: 2, normBeforeGate, eps: 1e-2 },
    inputs: { x: random([21, 74], "normal"), gate: random([21, 74], "normal"), weight: random([74]) },
    wide: ["x", "gate"],
  })),
]);
