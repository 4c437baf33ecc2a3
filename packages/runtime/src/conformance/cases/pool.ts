import { defineCases } from "../cases.js";

const kinds = ["mean", "sum", "max"] as const;
const packs: Record<string, number[]> = {
  "one row": [1],
  "empty first and last": [0, 3, 0, 0, 5, 1, 0],
  "nothing at all": [0, 0],
  "one long": [1000],
  "many short": Array.from({ length: 129 }, (_, i) => i % 4),
};

export default defineCases("pool", ({ random, borders }) =>
  kinds.flatMap((kind) =>
    Object.entries(packs).flatMap(([pack, lengths]) => {
      const T = lengths.reduce((a, b) => a + b, 0);
      return [
        ...[1, 33, 300].map((D) => ({
          name: `${kind} ${pack} D=${D}`,
          symbols: { T, S: lengths.length },
          attributes: { kind },
          // All below zero: a maximum that starts from zero is seen.
          inputs: { x: random([T, D], { low: -2, high: -1 }), cuSeqlens: borders(lengths) },
        })),
        {
          name: `${kind} ${pack} wide`,
          symbols: { T, S: lengths.length },
          attributes: { kind, outDtype: "f32" },
          inputs: { x: random([T, 20]), cuSeqlens: borders(lengths) },
          wide: ["x"],
        },
      ];
    }),
  ),
);
