import { defineCases } from "../cases.js";

const packs: Record<string, number[]> = {
  "one sequence": [1000],
  "shorter than a frame": [3],
  "exactly a frame and one less": [25, 24],
  "empty among others": [0, 60, 0, 24, 127, 0],
  "nothing at all": [0],
};
const framings = [
  [25, 10],
  [10, 25],
  [1, 1],
  [24, 24],
  [7, 3],
] as const;

export default defineCases("frame", ({ random, borders }) =>
  Object.entries(packs).flatMap(([pack, lengths]) => {
    const T = lengths.reduce((a, b) => a + b, 0);
    return framings.map(([size, hop]) => ({
      name: `${pack}, size=${size} hop=${hop}`,
      symbols: { T, S: lengths.length },
      attributes: { size, hop },
      inputs: { x: random([T]), cuSeqlens: borders(lengths) },
    }));
  }),
);
