import { type CaseKit, type CaseTensor, defineCases } from "../cases.js";

/** Per token `choices` different experts of `count`, some of them far more often than others. */
function routes({ integers, exact }: CaseKit, tokens: number, choices: number, count: number): CaseTensor {
  const first = integers([tokens], 0, count).data.map((e, t) => (t % 3 === 0 ? 0 : e));
  const values = Array.from({ length: tokens * choices }, (_, i) => {
    const [t, k] = [Math.floor(i / choices), i % choices];
    return (first[t]! + k) % count;
  });
  return exact([tokens, choices], values);
}

export default defineCases("expert_linear", (kit) => [
  ...kit.sizes.flatMap((T) => [
    {
      name: `T=${T} expand relu2`,
      attributes: { activation: "relu2" },
      symbols: { T },
      inputs: { x: kit.random([T, 40]), weight: kit.random([5, 24, 40]), experts: routes(kit, T, 2, 5) },
      wide: ["x"],
    },
    {
      name: `T=${T} gated silu`,
      attributes: { activation: "silu", gated: true },
      symbols: { T },
      inputs: { x: kit.random([T, 33]), weight: kit.random([4, 70, 33]), experts: routes(kit, T, 3, 4) },
    },
    {
      name: `T=${T} combine`,
      attributes: { combine: true },
      symbols: { T },
      inputs: {
        x: kit.random([T, 3 * 40]),
        weight: kit.random([6, 65, 40]),
        experts: routes(kit, T, 3, 6),
        weights: kit.random([T, 3], { low: 0, high: 1 }),
      },
    },
  ]),
  {
    name: "combine gelu, plain sum, one choice",
    attributes: { activation: "gelu", combine: true },
    symbols: { T: 5 },
    inputs: { x: kit.random([5, 16]), weight: kit.random([2, 8, 16]), experts: routes(kit, 5, 1, 2) },
  },
  {
    name: "no token",
    attributes: {},
    symbols: { T: 0 },
    inputs: { x: kit.random([0, 16]), weight: kit.random([2, 8, 16]), experts: routes(kit, 0, 1, 2) },
  },
]);
