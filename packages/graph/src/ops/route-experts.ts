import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, optional, tensor } from "../op.js";

export const routeExperts = defineOp("route_experts", {
  doc: "Chooses topK of N experts per token. Scores are the softmax or the sigmoid of the logits; the largest of score + bias are chosen, best first, the lower index of equals. With `groups`, only experts of the keptGroups groups whose two best add up to most. weights = scores of the chosen (without bias), divided by their sum with `normalize`, times `scale`. A row of `given` whose first index is no −1 are the chosen of its token, in that order, and only the weights follow from the scores. Shazeer et al. 2017; the bias and the groups are DeepSeek-V3's, arXiv 2412.19437.",
  attributes: z.object({
    topK: z.int().positive().max(64),
    scoring: z.enum(["softmax", "sigmoid"]).default("softmax"),
    normalize: z.boolean().default(false),
    scale: z.number().default(1),
    groups: z.int().positive().default(1),
    keptGroups: z.int().positive().default(1),
  }),
  inputs: { logits: tensor("T N", "f32"), bias: optional("N", "f32"), given: optional("T C", "i32") },
  outputs: { experts: tensor("T K", "i32"), weights: tensor("T K", "f32") },
  dims: (_, { topK }) => ({ K: topK }),
  rules: [
    { rule: "N >= 1 && N <= 1024", expects: "1 to 1024 experts" },
    { rule: "groups >= 1 && groups <= N && N % groups == 0", expects: "groups that divide its experts" },
    { rule: "keptGroups >= 1 && keptGroups <= groups", expects: "1 to all groups kept" },
    { rule: "!has(given) || C == topK", expects: "as many given choices as topK" },
    { rule: "topK >= 1 && topK <= (N / groups) * keptGroups && K == topK", expects: "as many choices as topK" },
  ],
  cost: ({ T, N }) => ({ flops: product(8, T!, N!), bytes: product(4, T!, N!) }),
  reference: ({ logits, bias, given }, { topK, scoring, normalize, scale, groups, keptGroups }) => {
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
      const replayed = given?.data.subarray(t * topK, (t + 1) * topK);
      const chosen =
        replayed && replayed[0] !== -1
          ? Array.from(replayed)
          : best(choice, topK, (i) => groups === 1 || kept.has(Math.floor(i / size)));
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
