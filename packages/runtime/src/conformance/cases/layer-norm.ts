import { defineCases } from "../cases.js";

export default defineCases("layer_norm", ({ random, sizes }) => [
  ...[0, ...sizes].flatMap((T) =>
    // From 2 columns on: the one number of a row of one is its mean, and differs from it by rounding alone.
    [2, 64, 129].flatMap((D) => [
      { name: `T=${T} D=${D}`, symbols: { T }, inputs: { x: random([T, D]), weight: random([D]) }, wide: ["x"] },
      {
        name: `T=${T} D=${D} bias, residual`,
        symbols: { T },
        attributes: { eps: 1e-3 },
        inputs: {
          x: random([T, D], "normal"),
          weight: random([D]),
          bias: random([D]),
          residual: random([T, D], "normal"),
        },
      },
    ]),
  ),
  {
    name: "wide residual",
    symbols: { T: 17 },
    attributes: { outDtype: "f32" },
    inputs: { x: random([17, 50]), weight: random([50]), bias: random([50]), residual: random([17, 50]) },
    wide: ["x", "residual"],
  },
  {
    name: "long rows",
    symbols: { T: 3 },
    inputs: { x: random([3, 8197], "normal"), weight: random([8197]), residual: random([3, 8197], "normal") },
  },
  {
    // The mean of the squares less the square of the mean would lose all but a digit or two here.
    name: "a mean far from zero",
    symbols: { T: 9 },
    inputs: { x: random([9, 300], { low: 30, high: 32 }), weight: random([300]), bias: random([300]) },
    bounds: { f32: 4e-5, why: "a number near 31 in float32 holds its distance from the mean to 2e-6" },
  },
  { name: "one column", symbols: { T: 5 }, inputs: { x: random([5, 1]), weight: random([1]), bias: random([1]) } },
  {
    name: "eps larger than the variance",
    symbols: { T: 9 },
    attributes: { eps: 0.1 },
    inputs: { x: random([9, 40], { low: -1e-3, high: 1e-3 }), weight: random([40]) },
  },
]);
