import { defineCases } from "../cases.js";

const shapes = [
  [3, 2, 1], // Whisper's second convolution
  [3, 1, 1], // its first
  [3, 2, 2], // causal
  [5, 4, 2],
  [1, 3, 0],
  [9, 2, 4],
  [4, 3, 7], // all before the row itself
] as const;

export default defineCases("unfold_time", ({ sizes, random, borders, exact }) => [
  ...sizes.flatMap((T) =>
    shapes.map(([width, stride, before]) => ({
      name: `T=${T} width=${width} stride=${stride} before=${before}`,
      symbols: { T, S: 1 },
      attributes: { width, stride, before },
      inputs: { x: random([T, 7]), cuSeqlens: borders([T]) },
      wide: T % 2 === 1 ? ["x"] : [],
    })),
  ),
  ...shapes.map(([width, stride, before]) => ({
    name: `a pack, width=${width} stride=${stride} before=${before}`,
    symbols: { T: 267, S: 7 },
    attributes: { width, stride, before },
    inputs: { x: random([267, 33]), cuSeqlens: borders([0, 1, 2, 130, 0, 127, 7]) },
  })),
  // Carried tails: sequences that begin, go on by less than a tail, by nothing, by many strides, and one that carries nothing.
  ...shapes
    .filter(([width, stride, before]) => width <= before + stride)
    .map(([width, stride, before]) => ({
      name: `carried, width=${width} stride=${stride} before=${before}`,
      symbols: { T: 140, S: 5 },
      attributes: { width, stride, before },
      inputs: {
        x: random([140, 20]),
        cuSeqlens: borders([1, 0, 2, 130, 7]),
        position: exact([5], [0, 12, 24, 1200, 36]),
        state: random([6, before, 20]),
        stateIndex: exact([5], [2, 5, 0, 3, -1]),
      },
    })),
]);
