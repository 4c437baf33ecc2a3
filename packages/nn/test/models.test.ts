import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CausalModel,
  checkParity,
  describeModel,
  type GeneratedToken,
  Generation,
  inspectModel,
  loadCausalModel,
  mapWeights,
  openModelFolder,
  readPublishedConfig,
  tensorsOf,
} from "../src/index.js";

// Small random models as save_pretrained wrote them, with the outputs of transformers 5.17.0 in float32. KRAIT_GOLDENS names a
// folder of more such folders.
const roots = [fileURLToPath(new URL("fixtures/models", import.meta.url)), process.env.KRAIT_GOLDENS];
const folders = roots.flatMap((root) =>
  root && existsSync(root) ? readdirSync(root, { withFileTypes: true }).map((d) => join(root, d.name)) : [],
);
const named = folders.map((folder) => [basename(folder), folder] as const);

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const idsOf = (n: number) => Array.from({ length: n }, () => Math.floor(random() * 100));

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(() => device.close());

async function collect(generation: AsyncIterable<GeneratedToken>): Promise<number[][]> {
  const tokens: number[][] = [];
  for await (const { sequence, token } of generation) {
    tokens[sequence] ??= [];
    tokens[sequence].push(token);
  }
  return tokens;
}

// One row of logits, after sums in another order. Models that are badly conditioned (Zamba2's random goldens turn an error of 1e-7
// into 6e-6) need more room than a whole stack's 1e-5.
const ROW_BOUND = 5e-5;

describe(`published models, seed ${seed}`, () => {
  test.each(named)("%s equals its reference", async (_, folder) => {
    const report = await checkParity(device, folder, join(folder, "golden.safetensors"));
    expect(report.maxRelRms).toBeLessThanOrEqual(1e-4);
    expect(report.greedy!.received).toEqual(report.greedy!.expected);
    expect(report.ok).toBe(true);
  });

  test.each(named)("%s: chunks of any size and single steps give the logits of one pass", async (_, folder) => {
    const options = { contextTokens: 80, maxTokens: 128, maxLogits: 128 };
    const model = await loadCausalModel(device, folder, options);
    try {
      const ids = idsOf(70);
      const [whole] = await model.run([{ ids, logits: "all" }]);
      const row = (t: number) =>
        whole!.subarray(t * model.description.vocabularySize).subarray(0, model.description.vocabularySize);
      for (const chunk of [1, 2, 3, 17, 64, 70]) {
        const session = await model.open();
        const last = await model.prefill(ids.slice(0, 65), session, { chunk });
        expect(relativeRms(last, row(64))).toBeLessThan(ROW_BOUND);
        for (let t = 65; t < 70; t++) {
          const [step] = await model.run([{ ids: ids.slice(t, t + 1), session }]);
          expect(relativeRms(step!, row(t))).toBeLessThan(ROW_BOUND);
        }
        session.close();
      }
    } finally {
      model.close();
    }
  });

  test.each(named)(
    "%s: packed prompts equal each alone, and a snapshot goes on to the same tokens",
    async (_, folder) => {
      const model = await loadCausalModel(device, folder, { contextTokens: 64, maxTokens: 32, slots: 3 });
      try {
        const options = { temperature: 0.8, topK: 40, topP: 0.95, maxTokens: 12, endTokens: [], seed: 11 };
        // More prompts than slots, longer and shorter than a chunk.
        const prompts = [idsOf(3), idsOf(45), idsOf(1), idsOf(20), idsOf(7)];
        const together = await collect(Generation.start(model, prompts, options));
        for (const [i, prompt] of prompts.entries()) {
          expect(together[i]).toHaveLength(12);
          const alone = await collect(Generation.start(model, [prompt], { ...options, seed: 11 + i, chunkTokens: 5 }));
          expect(together[i]).toEqual(alone[0]);
        }
        const generation = Generation.start(model, prompts.slice(0, 2), options);
        const iterator = generation[Symbol.asyncIterator]();
        const before: number[][] = [[], []];
        for (let n = 0; n < 9; n++) {
          const { value } = await iterator.next();
          before[value!.sequence]!.push(value!.token);
        }
        // Tokens of one run come together, so that the snapshot may be ahead of what was taken.
        const snapshot = await generation.snapshot();
        await iterator.return?.(undefined);
        const rest = await collect(await Generation.resume(model, snapshot));
        snapshot.sequences.forEach((s, i) => {
          expect(s.tokens.slice(0, before[i]!.length)).toEqual(before[i]);
          expect([...s.tokens, ...(rest[i] ?? [])]).toEqual(together[i]);
        });
      } finally {
        model.close();
      }
    },
  );

  test.each(named)("%s: tokens chosen ahead are those chosen one by one", async (_, folder) => {
    const load = (stepsAhead: number) =>
      loadCausalModel(device, folder, { contextTokens: 40, maxTokens: 32, slots: 3, stepsAhead });
    const [byOne, ahead] = [await load(0), await load(3)];
    try {
      // More prompts than slots; the longest ends with the context, another with a token that came up by itself.
      const prompts = [idsOf(3), idsOf(35), idsOf(1), idsOf(20), idsOf(7)];
      const free = await collect(Generation.start(byOne, prompts, { maxTokens: 12, endTokens: [] }));
      const options = { maxTokens: 12, endTokens: [free[2]![4]!] };
      const wanted = await collect(Generation.start(byOne, prompts, options));
      expect(await collect(Generation.start(ahead, prompts, options))).toEqual(wanted);
      // Interrupted at any token, and again a token after going on.
      for (let taken = 1; taken < 14; taken += 3) {
        const generation = Generation.start(ahead, prompts.slice(0, 2), options);
        const iterator = generation[Symbol.asyncIterator]();
        for (let n = 0; n < taken; n++) if ((await iterator.next()).done) break;
        const once = await generation.snapshot();
        await iterator.return?.(undefined);
        const resumed = await Generation.resume(ahead, once);
        const second = resumed[Symbol.asyncIterator]();
        await second.next();
        const twice = await resumed.snapshot();
        await second.return?.(undefined);
        const rest = await collect(await Generation.resume(byOne, twice));
        twice.sequences.forEach((s, i) => {
          expect([...s.tokens, ...(rest[i] ?? [])]).toEqual(wanted[i]);
        });
      }
    } finally {
      byOne.close();
      ahead.close();
    }
  });

  test.each(named)("%s can be inspected: what it says is what is loaded", async (_, folder) => {
    const report = await inspectModel(folder, { contextTokens: 33 });
    const model = await loadCausalModel(device, folder, { contextTokens: 33 });
    expect(report.stateBytes.f32).toBe(model.stateBytes);
    expect(report.bytes.f32).toBe(4 * report.parameters);
    // Each weight of a dense model is multiplied and added once per token.
    expect(report.flopsPerToken).toBeGreaterThan(report.parameters / 4);
    model.close();
  });
});

describe("a causal model", () => {
  const folder = join(roots[0]!, "bamba_sharded");

  test("refuses what it cannot do: tokens out of range, a full context, too many rows, an empty prompt", async () => {
    const model = await loadCausalModel(device, folder, { contextTokens: 16, maxTokens: 32, maxSequences: 2 });
    const session = await model.open();
    await expect(model.run([{ ids: [160] }])).rejects.toMatchObject({ code: "TOKEN_OUT_OF_RANGE" });
    await expect(model.run([{ ids: [-1] }])).rejects.toMatchObject({ code: "TOKEN_OUT_OF_RANGE" });
    await expect(model.run([{ ids: idsOf(3), logits: "all" }])).rejects.toMatchObject({ code: "RUN_TOO_LARGE" });
    await expect(model.prefill(idsOf(17), session)).rejects.toMatchObject({ code: "CONTEXT_FULL" });
    await model.prefill(idsOf(16), session);
    await expect(model.run([{ ids: [1], session }])).rejects.toMatchObject({ code: "CONTEXT_FULL" });
    expect(() => Generation.start(model, [[]])).toThrow(expect.objectContaining({ code: "PROMPT_EMPTY" }));
    session.close();
    model.close();
    // A generation ends where the context does.
    for (const stepsAhead of [0, 3]) {
      const small = await loadCausalModel(device, folder, { contextTokens: 16, stepsAhead });
      const tokens = await collect(Generation.start(small, [idsOf(10)], { maxTokens: 50, endTokens: [] }));
      expect(tokens[0]).toHaveLength(7);
      small.close();
    }
    await expect(loadCausalModel(device, folder, { stepsAhead: -1 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("stops at an abort with steps under way, and its slots come back", async () => {
    const model = await loadCausalModel(device, folder, { contextTokens: 64, slots: 2, stepsAhead: 3 });
    const controller = new AbortController();
    const count = async () => {
      let n = 0;
      const options = { maxTokens: 30, endTokens: [] };
      for await (const _ of Generation.start(model, [idsOf(5)], options, controller.signal))
        if (++n === 4) controller.abort();
    };
    await expect(count()).rejects.toMatchObject({ code: "ABORTED" });
    const sessions = [await model.open(), await model.open()];
    for (const s of sessions) s.close();
    model.close();
  });

  test.each([0, 3])(
    "ends a sequence at its end token, when it is stopped, and when its loop is left, %i steps ahead",
    async (stepsAhead) => {
      const model = await loadCausalModel(device, folder, { contextTokens: 64, slots: 2, stepsAhead });
      const prompts = [idsOf(5), idsOf(6)];
      const free = await collect(Generation.start(model, prompts, { maxTokens: 10, endTokens: [] }));
      const end = free[0]![3]!;
      const ended = await collect(Generation.start(model, [prompts[0]!], { maxTokens: 10, endTokens: [end] }));
      expect(ended[0]).toEqual(free[0]!.slice(0, free[0]!.indexOf(end) + 1));
      const generation = Generation.start(model, prompts, { maxTokens: 10, endTokens: [] });
      const counts = [0, 0];
      for await (const { sequence } of generation) if (++counts[sequence]! === 2 && sequence === 0) generation.stop(0);
      expect(counts).toEqual([2, 10]);
      for await (const _ of Generation.start(model, prompts)) break;
      const sessions = [await model.open(), await model.open()]; // both slots are back
      for (const s of sessions) s.close();
      model.close();
    },
  );

  test("weights rounded to bf16 on the CPU change the logits by what bf16 can hold", async () => {
    const options = { dtype: "bf16", bound: 3e-2 } as const;
    const report = await checkParity(device, folder, join(folder, "golden.safetensors"), options);
    expect(report.maxRelRms).toBeGreaterThan(1e-4);
    expect(report.ok).toBe(true);
  });

  test("an aborted load stops and gives its memory back", async () => {
    const abort = new AbortController();
    abort.abort();
    const config = await readPublishedConfig(folder);
    const files = await openModelFolder(folder);
    const description = describeModel(config, { names: new Set(files.tensors.keys()), contextTokens: 16 });
    const weights = await mapWeights(files, tensorsOf(description));
    await expect(CausalModel.create(device, description, weights, { signal: abort.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    await files.close();
  });
});
