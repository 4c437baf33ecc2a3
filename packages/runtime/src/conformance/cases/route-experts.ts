import { defineCases } from "../cases.js";

export default defineCases("route_experts", ({ random, sizes }) => [
  ...sizes.flatMap((T) => [
    { name: `T=${T} softmax`, attributes: { topK: 2 }, symbols: { T }, inputs: { logits: random([T, 5], "normal") } },
    {
      name: `T=${T} sigmoid, bias, normalised`,
      attributes: { topK: 3, scoring: "sigmoid", normalize: true, scale: 1.5 },
      symbols: { T },
      inputs: { logits: random([T, 33], "normal"), bias: random([33]) },
    },
    {
      name: `T=${T} groups`,
      attributes: { topK: 4, scoring: "sigmoid", groups: 4, keptGroups: 2 },
      symbols: { T },
      inputs: { logits: random([T, 32], "normal"), bias: random([32]) },
      wide: ["logits"],
    },
  ]),
  {
    name: "all of them, softmax normalised",
    attributes: { topK: 4, normalize: true },
    symbols: { T: 7 },
    inputs: { logits: random([7, 4], { low: -30, high: 30 }) },
  },
  { name: "one of 1024", attributes: { topK: 1 }, symbols: { T: 3 }, inputs: { logits: random([3, 1024], "normal") } },
  { name: "no token", attributes: { topK: 2 }, symbols: { T: 0 }, inputs: { logits: random([0, 4]) } },
]);
