import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeSafetensors } from "@krait/formats";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  Generation,
  loadCausalModel,
  loadProjector,
  openModelFolder,
  Projector,
  type PromptPart,
  seededWeights,
} from "../src/index.js";

const roots = [fileURLToPath(new URL("fixtures/models", import.meta.url)), process.env.KRAIT_GOLDENS];
const named = roots.flatMap((root) =>
  root && existsSync(root)
    ? readdirSync(root, { withFileTypes: true }).map((d) => [basename(d.name), join(root, d.name)] as const)
    : [],
);

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const idsOf = (n: number) => Array.from({ length: n }, () => Math.floor(random() * 100));

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(() => device.close());

/** Rows of the model's own table: as soft tokens they must be the ids they belong to. */
async function tableOf(folder: string, name: string): Promise<(ids: readonly number[]) => PromptPart> {
  const files = await openModelFolder(folder);
  const { file, entry } = files.tensors.get(name)!;
  const data = await file.readFloat32(name);
  await files.close();
  const width = entry.shape[1]!;
  return (ids) => {
    const soft = new Float32Array(ids.length * width);
    for (const [i, id] of ids.entries()) soft.set(data.subarray(id * width, (id + 1) * width), i * width);
    return { soft };
  };
}

const BOUND = 5e-5; // sums in another order, as in models.test.ts

describe(`soft tokens, seed ${seed}`, () => {
  test.each(named)("%s takes embeddings for the ids they belong to, in chunks, packed and mixed", async (_, folder) => {
    const options = { contextTokens: 64, maxTokens: 96, maxLogits: 96, softTokens: true };
    const model = await loadCausalModel(device, folder, options);
    const softly = await tableOf(folder, model.description.embedding.name);
    const { vocabularySize } = model.description;
    const ids = idsOf(40);
    const [whole] = await model.run([{ ids, logits: "all" }]);
    const mixed: PromptPart[] = [ids.slice(0, 3), softly(ids.slice(3, 21)), ids.slice(21, 22), softly(ids.slice(22))];
    const [soft] = await model.run([{ ids: [softly(ids)], logits: "all" }]);
    expect(relativeRms(soft!, whole!)).toBeLessThan(BOUND);
    // Beside another prompt, whose tokens must not be taken for these.
    const other = idsOf(9);
    const [alone] = await model.run([{ ids: other, logits: "all" }]);
    const [a, b] = await model.run([
      { ids: mixed, logits: "all" },
      { ids: [softly(other)], logits: "all" },
    ]);
    expect(relativeRms(a!, whole!)).toBeLessThan(BOUND);
    expect(relativeRms(b!, alone!)).toBeLessThan(BOUND);
    for (const chunk of [1, 4, 7, 40]) {
      const session = await model.open();
      const last = await model.prefill(mixed, session, { chunk });
      expect(relativeRms(last, whole!.subarray(39 * vocabularySize))).toBeLessThan(BOUND);
      session.close();
    }
    model.close();
  });

  test("a generation goes on from soft tokens as from ids, and from its snapshot", async () => {
    const [, folder] = named[0]!;
    const model = await loadCausalModel(device, folder, { contextTokens: 64, maxTokens: 16, softTokens: true });
    const softly = await tableOf(folder, model.description.embedding.name);
    const ids = idsOf(30);
    const options = { maxTokens: 10, endTokens: [], temperature: 0.7, seed: 3, chunkTokens: 7 };
    const collect = async (generation: Generation) => {
      const tokens: number[] = [];
      for await (const { token } of generation) tokens.push(token);
      return tokens;
    };
    const wanted = await collect(Generation.start(model, [ids], options));
    const prompt = [softly(ids.slice(0, 20)), ids.slice(20)];
    expect(await collect(Generation.start(model, [prompt], options))).toEqual(wanted);
    // Before the prompt is in as well as behind it.
    for (const taken of [0, 4]) {
      const generation = Generation.start(model, [prompt], options);
      const iterator = generation[Symbol.asyncIterator]();
      for (let i = 0; i < taken; i++) await iterator.next();
      const snapshot = structuredClone(await generation.snapshot());
      generation.close();
      const rest = await collect(await Generation.resume(model, snapshot));
      expect([...snapshot.sequences[0]!.tokens, ...rest]).toEqual(wanted);
    }
    model.close();
  });

  test("are refused by a model without them, and in rows of another width", async () => {
    const [, folder] = named[0]!;
    const plain = await loadCausalModel(device, folder, { contextTokens: 16 });
    const { width } = plain.description;
    const soft = new Float32Array(2 * width);
    await expect(plain.run([{ ids: [{ soft }] }])).rejects.toMatchObject({ code: "INVALID_OPTION" });
    plain.close();
    const model = await loadCausalModel(device, folder, { contextTokens: 16, softTokens: true });
    const odd = { soft: new Float32Array(width + 1) };
    await expect(model.run([{ ids: [odd] }])).rejects.toMatchObject({ code: "INVALID_OPTION" });
    expect(() => Generation.start(model, [[odd]])).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    expect(() => Generation.start(model, [[{ soft: new Float32Array(0) }]])).toThrow(
      expect.objectContaining({ code: "PROMPT_EMPTY" }),
    );
    model.close();
  });
});

describe("a projector", () => {
  const gelu = (x: number) => {
    // Abramowitz and Stegun 7.1.26: within 2e-7.
    const t = 1 / (1 + 0.3275911 * (Math.abs(x) / Math.SQRT2));
    const poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    const erf = Math.sign(x) * (1 - poly * Math.exp((-x * x) / 2));
    return 0.5 * x * (1 + erf);
  };
  const product = (x: Float32Array, w: Float32Array, bias: Float32Array, k: number) => {
    const n = bias.length;
    return Float32Array.from({ length: (x.length / k) * n }, (_, i) => {
      let sum = bias[i % n]!;
      for (let j = 0; j < k; j++) sum += x[Math.floor(i / n) * k + j]! * w[(i % n) * k + j]!;
      return sum;
    });
  };

  test("is a matrix, or two with an activation between, from a folder or a seed", async () => {
    const folder = await mkdtemp(join(tmpdir(), "krait-projector-"));
    const [rows, input, hidden, width] = [1100, 5, 9, 7]; // more rows than one run takes
    const normal = (n: number) => Float32Array.from({ length: n }, () => random() * 2 - 1);
    const x = normal(rows * input);
    const f32 = (shape: number[], data: Float32Array) => ({ dtype: "f32" as const, shape, data });
    const [up, upBias, down, downBias] = [
      normal(hidden * input),
      normal(hidden),
      normal(width * hidden),
      normal(width),
    ];
    const tensors = {
      "up.weight": f32([hidden, input], up),
      "up.bias": f32([hidden], upBias),
      "down.weight": f32([width, hidden], down),
      "down.bias": f32([width], downBias),
    };
    await writeSafetensors(join(folder, "model.safetensors"), tensors);
    await writeFile(join(folder, "config.json"), JSON.stringify({ input, width, hidden }));
    const mlp = await loadProjector(device, folder);
    const wanted = product(product(x, up, upBias, input).map(gelu), down, downBias, hidden);
    expect(relativeRms(await mlp.project(x), wanted)).toBeLessThan(1e-5);
    await expect(mlp.project(new Float32Array(input + 1))).rejects.toMatchObject({ code: "INVALID_OPTION" });
    mlp.close();

    await writeFile(join(folder, "config.json"), JSON.stringify({ input, width }));
    await expect(loadProjector(device, folder)).rejects.toMatchObject({ code: "TENSOR_MISSING" });
    await writeFile(join(folder, "config.json"), JSON.stringify({ input, width, hiden: hidden }));
    await expect(loadProjector(device, folder)).rejects.toMatchObject({ code: "INVALID_CONFIG" });
    const matrix = { "linear.weight": f32([hidden, input], up), "linear.bias": f32([hidden], upBias) };
    await rm(join(folder, "model.safetensors"));
    await writeSafetensors(join(folder, "model.safetensors"), matrix);
    await writeFile(join(folder, "config.json"), JSON.stringify({ input, width: hidden }));
    const linear = await loadProjector(device, folder);
    expect(relativeRms(await linear.project(x), product(x, up, upBias, input))).toBeLessThan(1e-5);
    linear.close();
    await rm(folder, { recursive: true });

    const seeded = await Projector.create(device, { input, width }, seededWeights(1));
    const first = await seeded.project(x.subarray(0, input));
    expect(relativeRms(first, (await seeded.project(x)).subarray(0, width))).toBeLessThan(1e-6);
    seeded.close();
  });
});
