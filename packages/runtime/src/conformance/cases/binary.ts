import { defineCases } from "../cases.js";

const kinds = ["add", "sub", "mul", "max"] as const;

export default defineCases("binary", ({ random, sizes }) =>
  kinds.flatMap((kind) => [
    // Two symbols are never equal, so that a whole b takes constants.
    ...sizes.flatMap((T) =>
      [1, 33, 128].map((D) => ({
        name: `${kind} T=${T} D=${D}`,
        attributes: { kind },
        inputs: { a: random([T, D]), b: random([T, D]) },
      })),
    ),
    ...[0, 1, 3, 129].flatMap((T) => [
      {
        name: `${kind} T=${T} with one row`,
        symbols: { T },
        attributes: { kind },
        inputs: { a: random([T, 130]), b: random([1, 130]) },
      },
      {
        name: `${kind} T=${T} with one number`,
        symbols: { T },
        attributes: { kind },
        inputs: { a: random([T, 130]), b: random([1, 1]) },
      },
    ]),
    {
      name: `${kind} with one column`,
      attributes: { kind },
      inputs: { a: random([127, 65]), b: random([127, 1]) },
    },
    {
      name: `${kind} of wide rows`,
      attributes: { kind },
      inputs: { a: random([127, 65]), b: random([127, 65]) },
      wide: ["a", "b"],
    },
    {
      name: `${kind} of wide rows with one wide column`,
      attributes: { kind },
      inputs: { a: random([130, 7]), b: random([130, 1]) },
      wide: ["a", "b"],
    },
    {
      name: `${kind} of a wide a alone`,
      symbols: { T: 3 },
      attributes: { kind },
      inputs: { a: random([3, 1000]), b: random([1, 1000]) },
      wide: ["a"],
    },
  ]),
);
