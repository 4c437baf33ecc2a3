import { defineCases } from "../cases.js";

export default defineCases("rms_norm", ({ random, sizes }) => [
  ...[0, ...sizes].flatMap((T) =>
    [1, 64, 129].flatMap((D) => [
      { name: `T=${T} D=${D}`, symbols: { T }, inputs: { x: random([T, D]), weight: random([D]) }, wide: ["x"] },
      {
        name: `T=${T} D=${D} residual`,
        symbols: { T },
        attributes: { eps: 1e-3 },
        inputs: { x: random([T, D], "normal"), weight: random([D]), residual: random([T, D], "normal") },
      },
    ]),
  ),
  // Widths around what a block holds and what vector loads need, products of less and more than a block's columns.
  ...[1, 2, 3, 8, 9].flatMap((T) =>
    [8, 13, 768, 2048, 2056].map((D, i) => {
      const hasResidual = (T + i) % 2 === 0;
      const N = [7, 9, 8, 129, 24][(T + i) % 5]!;
      return {
        name: `T=${T} D=${D}${hasResidual ? " residual" : ""}, then a product of ${N}`,
        symbols: { T },
        inputs: {
          x: random([T, D], "normal"),
          weight: random([D]),
          ...(hasResidual && { residual: random([T, D], "normal") }),
        },
        ...(i % 2 === 0 && { wide: ["x"] }),
        behind: {
          op: "linear",
          attributes: { activation: i % 2 === 0 ? "silu" : "identity" },
          inputs: { weight: random([N, D]), ...(T !== 2 && { bias: random([N]) }) },
        },
      };
    }),
  ),
  // Of many blocks, while one of them writes the sum.
  ...[1, 2, 8].flatMap((T) =>
    [296, 2000].map((N) => ({
      name: `T=${T} D=64 residual whose sum nobody wants, then a product of ${N}`,
      symbols: { T },
      inputs: { x: random([T, 64], "normal"), weight: random([64]), residual: random([T, 64], "normal") },
      behind: { op: "linear", alone: ["x", "residual"], inputs: { weight: random([N, 64]) } },
    })),
  ),
  {
    name: "wide residual",
    symbols: { T: 17 },
    attributes: { outDtype: "f32" },
    inputs: { x: random([17, 50]), weight: random([50]), residual: random([17, 50]) },
    wide: ["x", "residual"],
  },
  ...[false, true].map((hasResidual) => ({
    name: `long rows${hasResidual ? " residual" : ""}`,
    symbols: { T: 3 },
    inputs: {
      x: random([3, 8197], "normal"),
      weight: random([8197]),
      ...(hasResidual && { residual: random([3, 8197], "normal") }),
    },
  })),
  {
    name: "eps larger than the squares",
    symbols: { T: 9 },
    attributes: { eps: 0.1 },
    inputs: { x: random([9, 40], { low: -1e-3, high: 1e-3 }), weight: random([40]) },
  },
]);
