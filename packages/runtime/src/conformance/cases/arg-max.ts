import { defineCases } from "../cases.js";

export default defineCases("arg_max", ({ random, exact, integers, sizes }) => [
  ...sizes.flatMap((T) => [
    ...[1, 3, 1025].map((V) => ({
      name: `T=${T} V=${V}`,
      symbols: { T },
      inputs: { x: random([T, V], "normal"), ...(V > 1 && { kept: integers([T], 0, 9) }) },
    })),
    // Whole numbers: many are equal, and the first must win.
    { name: `T=${T} equals`, symbols: { T }, inputs: { x: integers([T, 300], -2, 3) }, wide: ["x"] },
  ]),
  {
    name: "what is not a number",
    symbols: { T: 4 },
    inputs: {
      x: exact(
        [4, 3],
        [
          Number.NaN,
          -1,
          2,
          5,
          Number.NaN,
          1,
          Number.NaN,
          Number.NaN,
          Number.NaN,
          Number.NEGATIVE_INFINITY,
          -1e38,
          Number.NaN,
        ],
      ),
    },
  },
  { name: "a vocabulary", symbols: { T: 2 }, inputs: { x: random([2, 50280], "normal"), kept: integers([2], 0, 9) } },
  { name: "no token", symbols: { T: 0 }, inputs: { x: random([0, 4]) } },
]);
