import { defineCases } from "../cases.js";

export default defineCases("embedding", ({ random, integers, exact, sizes }) => [
  ...[0, ...sizes].flatMap((T) =>
    [1, 33, 128].map((D) => ({
      name: `T=${T} D=${D}`,
      symbols: { T },
      inputs: { table: random([57, D]), ids: integers([T], 0, 57) },
    })),
  ),
  {
    name: "first and last row of a wide table",
    symbols: { T: 4 },
    attributes: { outDtype: "f32" },
    inputs: { table: random([300, 19]), ids: exact([4], [0, 299, 299, 0]) },
    wide: ["table"],
  },
  { name: "a table of one row", symbols: { T: 3 }, inputs: { table: random([1, 5]), ids: exact([3], [0, 0, 0]) } },
]);
