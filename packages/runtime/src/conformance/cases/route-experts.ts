import { type CaseKit, type CaseTensor, defineCases } from "../cases.js";

interface Routing {
  topK: number;
  scoring?: "softmax" | "sigmoid";
  groups?: number;
  bias?: CaseTensor;
}

const GAP = 1e-5;

/** Whether the `count` best are apart from each other and from the next, so that rounding to float32 cannot change the choice. */
function clear(values: readonly number[], count: number): boolean {
  const best = [...values].sort((a, b) => b - a).slice(0, count + 1);
  return best.every((v, i) => i === 0 || best[i - 1]! - v > GAP * Math.abs(v));
}

/** Logits [T, N] whose choices are clear: a choice is discrete, so a near tie may fall either way in float32. */
function clearLogits(kit: CaseKit, T: number, N: number, routing: Routing, scale = 1): CaseTensor {
  const { topK, scoring = "softmax", groups = 1, bias } = routing;
  const rows: number[] = [];
  while (rows.length < T * N) {
    const row = Array.from(kit.random([N], "normal").data, (x) => Math.fround(scale * x));
    const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
    const choice = row.map((x, i) => {
      const score = scoring === "softmax" ? Math.exp(x) / total : 1 / (1 + Math.exp(-x));
      return score + (bias ? Math.fround(bias.data[i]!) : 0);
    });
    const size = N / groups;
    const parts = Array.from({ length: groups }, (_, g) =>
      choice.slice(g * size, (g + 1) * size).sort((a, b) => b - a),
    );
    const sums = parts.map(([a, b]) => a! + (b ?? 0));
    if (clear(choice, groups > 1 ? N : topK) && (groups === 1 || clear(sums, groups))) rows.push(...row);
  }
  return kit.exact([T, N], rows);
}

/** Choices [T, K] of any experts in any order; of every third token none. */
function givenChoices(kit: CaseKit, T: number, K: number, N: number): CaseTensor {
  const rows: number[] = [];
  for (let t = 0; t < T; t++) {
    const places = kit.random([N]).data;
    const shuffled = Array.from({ length: N }, (_, i) => i).sort((a, b) => places[a]! - places[b]!);
    rows.push(...shuffled.slice(0, K).map((i) => (t % 3 === 1 ? -1 : i)));
  }
  return kit.exact([T, K], rows);
}

export default defineCases("route_experts", (kit) => [
  ...kit.sizes.flatMap((T) => {
    const [bias33, bias32] = [kit.random([33]), kit.random([32])];
    return [
      {
        name: `T=${T} softmax`,
        attributes: { topK: 2 },
        symbols: { T },
        inputs: { logits: clearLogits(kit, T, 5, { topK: 2 }) },
      },
      {
        name: `T=${T} sigmoid, bias, normalised`,
        attributes: { topK: 3, scoring: "sigmoid", normalize: true, scale: 1.5 },
        symbols: { T },
        inputs: { logits: clearLogits(kit, T, 33, { topK: 3, scoring: "sigmoid", bias: bias33 }), bias: bias33 },
      },
      {
        name: `T=${T} groups`,
        attributes: { topK: 4, scoring: "sigmoid", groups: 4, keptGroups: 2 },
        symbols: { T },
        inputs: {
          logits: clearLogits(kit, T, 32, { topK: 4, scoring: "sigmoid", groups: 4, bias: bias32 }),
          bias: bias32,
        },
        wide: ["logits"],
      },
      {
        name: `T=${T} given`,
        attributes: { topK: 2 },
        symbols: { T },
        inputs: { logits: clearLogits(kit, T, 5, { topK: 2 }), given: givenChoices(kit, T, 2, 5) },
      },
      {
        name: `T=${T} given, groups, bias, normalised`,
        attributes: { topK: 5, scoring: "sigmoid", groups: 3, keptGroups: 2, normalize: true, scale: 2.5 },
        symbols: { T },
        inputs: {
          logits: clearLogits(kit, T, 33, { topK: 5, scoring: "sigmoid", groups: 3, bias: bias33 }),
          bias: bias33,
          given: givenChoices(kit, T, 5, 33),
        },
        wide: ["logits"],
      },
    ];
  }),
  {
    name: "all of them, softmax normalised",
    attributes: { topK: 4, normalize: true },
    symbols: { T: 7 },
    inputs: { logits: clearLogits(kit, 7, 4, { topK: 4 }, 8) },
  },
  {
    name: "one of 1024",
    attributes: { topK: 1 },
    symbols: { T: 3 },
    inputs: { logits: clearLogits(kit, 3, 1024, { topK: 1 }) },
  },
  {
    name: "one of 1024, given",
    attributes: { topK: 1 },
    symbols: { T: 3 },
    inputs: { logits: clearLogits(kit, 3, 1024, { topK: 1 }), given: kit.exact([3, 1], [1023, -1, 0]) },
  },
  {
    name: "given twice, and what stands behind a first -1 is not looked at",
    attributes: { topK: 3, normalize: true },
    symbols: { T: 2 },
    inputs: { logits: clearLogits(kit, 2, 7, { topK: 3 }), given: kit.exact([2, 3], [4, 4, 1, -1, 99, -7]) },
  },
  { name: "no token", attributes: { topK: 2 }, symbols: { T: 0 }, inputs: { logits: kit.random([0, 4]) } },
]);
