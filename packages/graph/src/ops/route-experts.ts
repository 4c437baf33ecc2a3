import { expected, UsageError } from "@krait/core";
import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, optional, tensor } from "../op.js";

export const routeExperts = defineOp("route_experts", {
  doc: "Chooses topK of N experts per token. Scores are the softmax or the sigmoid of the logits; the largest of score + bias are chosen, best first, the lower index of equals. With `groups`, only experts of the keptGroups groups whose two best add up to most. weights = scores of the chosen (without bias), divided by their sum with `normalize`, times `scale`. Shazeer et al. 2017; the bias and the groups are DeepSeek-V3's, arXiv 2412.19437.",
  attributes: z.object({
    topK: z.int().positive().max(64),
    scoring: z.enum(["softmax", "sigmoid"]).default("softmax"),
    normalize: z.boolean().default(false),
    scale: z.number().default(1),
    groups: z.int().positive().default(1),
    keptGroups: z.int().positive().default(1),
  }),
  inputs: { logits: tensor("T N", "f32"), bias: optional("N", "f32") },
  outputs: { experts: tensor("T K", "i32"), weights: tensor("T K", "f32") },
  dims: (_, { topK }) => ({ K: topK }),
  check: ({ N }, { topK, groups, keptGroups }) => {
    const n = N!.constant!;
    const fail = (what: string, name: string, received: unknown, hint: string): never => {
      throw new UsageError(expected(what, `route_experts ${name}`, received), { code: "SHAPE_MISMATCH", hint });
    };
    if (n > 1024) fail("at most 1024 experts", "logits", n, "More are not supported.");
    if (n % groups !== 0) fail(`a divisor of ${n} experts`, "groups", groups, "Groups are of equal size.");
    if (keptGroups > groups) fail(`at most ${groups}`, "keptGroups", keptGroups, "Groups are chosen among themselves.");
    if (topK > (n / groups) * keptGroups)
      fail(`at most ${(n / groups) * keptGroups}`, "topK", topK, "An expert is chosen once.");
  },
  cost: ({ T, N }) => ({ flops: product(8, T!, N!), bytes: product(4, T!, N!) }),
  reference: ({ logits, bias }, { topK, scoring, normalize, scale, groups, keptGroups }) => {
    const [T, N] = logits.shape as [number, number];
    const experts = new Float64Array(T * topK);
    const weights = new Float64Array(T * topK);
    const best = (values: readonly number[], k: number, allowed: (i: number) => boolean): number[] =>
      values
        .map((_, i) => i)
        .filter(allowed)
        .sort((a, b) => values[b]! - values[a]! || a - b)
        .slice(0, k);
    for (let t = 0; t < T; t++) {
      const row = Array.from(logits.data.subarray(t * N, (t + 1) * N));
      const top = Math.max(...row);
      const total = row.reduce((sum, x) => sum + Math.exp(x - top), 0);
      const scores = row.map((x) => (scoring === "softmax" ? Math.exp(x - top) / total : 1 / (1 + Math.exp(-x))));
      const choice = scores.map((s, i) => s + (bias ? bias.data[i]! : 0));
      const size = N / groups;
      const groupScores = Array.from({ length: groups }, (_, g) =>
        best(choice, 2, (i) => Math.floor(i / size) === g).reduce((sum, i) => sum + choice[i]!, 0),
      );
      const kept = new Set(best(groupScores, keptGroups, () => true));
      const chosen = best(choice, topK, (i) => groups === 1 || kept.has(Math.floor(i / size)));
      const sum = chosen.reduce((s, i) => s + scores[i]!, 0) + 1e-20;
      chosen.forEach((i, k) => {
        experts[t * topK + k] = i;
        weights[t * topK + k] = (scale * scores[i]!) / (normalize ? sum : 1);
      });
    }
    const shape = [T, topK];
    return { experts: { shape, data: experts }, weights: { shape, data: weights } };
  },
});
