import { defineCases } from "../cases.js";

export default defineCases("concatenate", ({ random, sizes }) => [
  ...[0, ...sizes].flatMap((A) =>
    [0, 1, 129].flatMap((C) => [
      {
        name: `rows ${A} + ${C}`,
        symbols: { A, C },
        attributes: { axis: 0 },
        inputs: { a: random([A, 17]), b: random([C, 17]) },
      },
    ]),
  ),
  ...sizes.flatMap((rows) =>
    (
      [
        [1, 1],
        [3, 127],
        [64, 2],
      ] as const
    ).map(([B, D]) => ({
      name: `columns ${B} + ${D}, ${rows} rows`,
      attributes: { axis: 1 },
      inputs: { a: random([rows, B]), b: random([rows, D]) },
    })),
  ),
  ...[0, 1].map((axis) => ({
    name: `axis ${axis} of wide rows`,
    attributes: { axis },
    inputs: { a: random([9, 12]), b: random([9, 12]) },
    wide: ["a", "b"],
  })),
]);
