import { defineCases } from "../cases.js";

export default defineCases("rms_norm", ({ random, sizes }) =>
  sizes.flatMap((T) =>
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
);
