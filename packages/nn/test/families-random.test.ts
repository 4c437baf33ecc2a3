import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "@krait/formats";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type CausalModel,
  describeModel,
  loadCausalModel,
  openModelFolder,
  readPublishedConfig,
} from "../src/index.js";
import { rotatedDims } from "../src/layers/attention.js";
import { type Config, type ReferenceModel, referenceOf, run, type Take } from "./family-reference/index.js";
import { DrawnWeights, type Stored } from "./family-reference/random-checkpoint.js";
import { Draw, randomConfigs } from "./family-reference/random-configs.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
/** Models of each family. */
const MODELS = Number(process.env.KRAIT_RANDOM_MODELS ?? 3);
/** What fp32 may differ from float64, as for published models. */
const BOUND = 1e-4;
/** A router's choice, or the largest logit, that fp32 might turn. */
const CLOSE = 1e-4;
const LENGTHS = [1, 2, 3, 127, 129];

let device: Device;
let root: string;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
  root = await mkdtemp(join(tmpdir(), "krait-families-random-"));
});
afterAll(async () => {
  await device.close();
  await rm(root, { recursive: true, force: true });
});

const roots = [fileURLToPath(new URL("fixtures/models", import.meta.url)), process.env.KRAIT_GOLDENS];
const goldens = roots.flatMap((folder) =>
  folder && existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [],
);

test.each(goldens.map((folder) => [basename(folder), folder] as const))(
  "the float64 reference gives what %s was published with",
  async (_, folder) => {
    const { values } = await readPublishedConfig(folder);
    const files = await openModelFolder(folder);
    const golden = await openSafetensors(join(folder, "golden.safetensors"));
    try {
      const tensors = new Map<string, Float64Array>();
      for (const [name, { file }] of files.tensors) tensors.set(name, Float64Array.from(await file.readFloat32(name)));
      const take: Take = (name) => tensors.get(name)!;
      const ids = Array.from((await golden.read("L37.input_ids")) as Int32Array).slice(0, 37);
      const { logits } = run(referenceOf(values), take, ids);
      const published = await golden.readFloat32("L37.logits");
      expect(relativeRms(logits.data, published.subarray(0, logits.data.length))).toBeLessThan(2e-5);
    } finally {
      await golden.close();
      await files.close();
    }
  },
);

interface Case {
  config: Config;
  model: ReferenceModel;
  weights: DrawnWeights;
  sequences: { ids: number[]; logits: Float64Array }[];
  folder: string;
}

/** A random model, and what the reference makes of sequences without close choices. */
async function makeCase(family: string, index: number): Promise<Case> {
  const random = generator(seed * 1009 + index * 7919 + family.length);
  const draw = new Draw(random);
  const config = randomConfigs[family]!(draw);
  const model = referenceOf(config);
  const weights = new DrawnWeights(random, draw.pick<Stored>(["f32", "f32", "bf16", "f16"]));
  const sequences = LENGTHS.map((n) => {
    for (let tries = 0; tries < 20; tries++) {
      const ids = idsOf(draw, config, n);
      const { logits, margin } = run(model, weights.take, ids);
      if (margin > CLOSE) return { ids, logits: logits.data };
    }
    throw new Error(`Every sequence of ${n} tokens has a close choice`);
  });
  const folder = await weights.save(join(root, `${family}-${index}`), config, draw.pick([1, 1, 3]));
  return { config, model, weights, sequences, folder };
}

const idsOf = (draw: Draw, config: Config, n: number) =>
  Array.from({ length: n }, () => draw.int(0, (config.vocab_size as number) - 1));

const largest = (row: ArrayLike<number>) => Array.from(row).reduce((best, v, i, all) => (v > all[best]! ? i : best), 0);

/** The reference's greedy continuation, up to the first token that is a close choice. */
function greedily({ model, weights }: Case, prompt: readonly number[], steps: number): number[] {
  const ids = [...prompt];
  while (ids.length < prompt.length + steps) {
    const { logits, margin } = run(model, weights.take, ids);
    const row = logits.data.slice(-logits.width);
    const [first, second] = [...row].sort((a, b) => b - a) as [number, number];
    const size = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / row.length);
    if (margin < CLOSE || first - second < 10 * BOUND * size) break;
    ids.push(largest(row));
  }
  return ids.slice(prompt.length);
}

describe.each(Object.keys(randomConfigs))(`random models of %s, seed ${seed}`, (family) => {
  test.each(Array.from({ length: MODELS }, (_, i) => i))("model %i equals the float64 reference", async (index) => {
    const made = await makeCase(family, index);
    const { config, sequences, folder } = made;
    const total = LENGTHS.reduce((a, b) => a + b, 0);
    const context = `${JSON.stringify(config)} in ${made.weights.dtype}`;
    let model: CausalModel;
    try {
      model = await loadCausalModel(device, folder, { contextTokens: 192, maxTokens: total, maxLogits: total });
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${context}`, { cause: error });
    }
    try {
      const packed = await model.run(sequences.map(({ ids }) => ({ ids, logits: "all" as const })));
      packed.forEach((logits, i) => {
        const error = relativeRms(logits, sequences[i]!.logits);
        expect(error, `${LENGTHS[i]} tokens: ${context}`).toBeLessThan(BOUND);
      });

      const { ids, logits } = sequences.at(-1)!;
      const size = model.description.vocabularySize;
      const row = (t: number) => logits.subarray(t * size, (t + 1) * size);
      const session = await model.open();
      const last = await model.prefill(ids.slice(0, -2), session, { chunk: 1 + ((seed + 13 * index) % 60) });
      expect(relativeRms(last, row(ids.length - 3)), `chunked: ${context}`).toBeLessThan(BOUND);
      for (const t of [ids.length - 2, ids.length - 1]) {
        const [step] = await model.run([{ ids: [ids[t]!], session }]);
        expect(relativeRms(step!, row(t)), `a step: ${context}`).toBeLessThan(BOUND);
      }
      session.close();

      const prompt = ids.slice(0, 9);
      const wanted = greedily(made, prompt, 4);
      const received: number[] = [];
      const greedy = await model.open();
      let [next] = await model.run([{ ids: prompt, session: greedy }]);
      while (received.length < wanted.length) {
        received.push(largest(next!));
        [next] = await model.run([{ ids: received.slice(-1), session: greedy }]);
      }
      greedy.close();
      expect(received, context).toEqual(wanted);
    } finally {
      model.close();
    }
  });
});

const { mamba: mamba1, bamba, granitemoehybrid: granite } = randomConfigs;
const plain = generator(7);

test.each<[string, Config, RegExp]>([
  [
    "another activation of Mamba's convolution",
    { ...mamba1!(new Draw(plain)), hidden_act: "gelu" },
    /hidden_act.*gelu/,
  ],
  ["one activation for MLPs and convolutions", { ...bamba!(new Draw(plain)), hidden_act: "gelu" }, /hidden_act.*gelu/],
  [
    "positions of another kind",
    {
      ...granite!(new Draw(plain)),
      num_hidden_layers: 1,
      layer_types: ["attention"],
      position_embedding_type: "alibi",
    },
    /position_embedding_type.*alibi/,
  ],
  [
    "an odd number of turned dimensions",
    { ...bamba!(new Draw(plain)), num_hidden_layers: 1, attn_layer_indices: [0], head_dim: 10 },
    /partial_rotary_factor.*0\.5/,
  ],
  [
    "a window, on which editions disagree",
    { model_type: "nemotron_h", hybrid_override_pattern: "*", sliding_window: 16 },
    /sliding_window.*16/,
  ],
  ["a Falcon-H1 without a base of positions", { model_type: "falcon_h1" }, /rope_theta/],
  [
    "attention that looks ahead",
    { d_model: 16, n_layer: 1, vocab_size: 8, attn_layer_idx: [0], attn_cfg: { num_heads: 2 } },
    /attn_cfg\.causal.*false/,
  ],
  [
    "a key that mamba_ssm's modules do not know",
    { d_model: 16, n_layer: 1, vocab_size: 8, ssm_cfg: { activation: "relu" } },
    /ssm_cfg\.activation.*relu/,
  ],
])("a config that asks for %s is refused by its key and value", (_, config, message) => {
  const describing = () =>
    describeModel({ path: "config.json", values: config }, { names: new Set(), contextTokens: 64 });
  expect(describing).toThrow(
    expect.objectContaining({ code: "CONFIG_UNSUPPORTED", message: expect.stringMatching(message) }),
  );
});

test("former names of Nemotron-H's keys count, and rotated dimensions survive their share", () => {
  const describe = (values: Config) =>
    describeModel({ path: "config.json", values }, { names: new Set(), contextTokens: 64 });
  const nemotron = { model_type: "nemotron_h", hybrid_override_pattern: "M", hidden_size: 32 };
  const names = (values: Config) => describe(values).blocks[0]!.tensors.map((t) => t.name);
  expect(names({ ...nemotron, mamba_conv_bias: false })).toEqual(names({ ...nemotron, use_conv_bias: false }));
  expect(names({ ...nemotron, mamba_conv_bias: false })).not.toEqual(names(nemotron));
  for (let headDim = 2; headDim <= 256; headDim++)
    for (let dims = 2; dims <= headDim; dims += 2) expect(rotatedDims(dims / headDim, headDim)).toBe(dims);
});
