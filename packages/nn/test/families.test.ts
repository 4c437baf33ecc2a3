import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CausalModel, families, Generation, inspectModel, loadCausalModel } from "../src/index.js";
import { familyConfigs, familyTensors, saveFamily, type Tensors } from "./family-models.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const idsOf = (n: number) => Array.from({ length: n }, () => Math.floor(random() * 90));

let device: Device;
let root: string;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
  root = await mkdtemp(join(tmpdir(), "krait-families-"));
});
afterAll(async () => {
  await device.close();
  await rm(root, { recursive: true, force: true });
});

let made = 0;
const save = (config: object, tensors: Tensors) => saveFamily(join(root, `${made++}`), config, tensors);

test("every family has a config here", () => {
  const matched = (config: object) => families.find((f) => f.matches({ path: "", values: { ...config } }))?.name;
  expect(new Set(Object.values(familyConfigs).map(matched))).toEqual(new Set(families.map((f) => f.name)));
});

/** Of each block and its tensors one: layers repeat. */
function kindsOf(tensors: Tensors): string[] {
  const kinds = new Map<string, string>();
  for (const name of Object.keys(tensors)) {
    const kind = name.replace(/\d+/g, "");
    if (!kinds.has(kind)) kinds.set(kind, name);
  }
  return [...kinds.values()];
}

// A row of logits after sums in another order, of models that are well conditioned.
const ROW_BOUND = 2e-5;

describe.each(Object.entries(familyConfigs))(`%s, seed ${seed}`, (_, config) => {
  const whole = familyTensors(config, random);
  const kinds = kindsOf(whole);

  async function using(options: object, work: (model: CausalModel) => Promise<void>): Promise<void> {
    const model = await loadCausalModel(device, await save(config, whole), { contextTokens: 64, ...options });
    try {
      await work(model);
    } finally {
      model.close();
    }
  }

  test("chunks of any size, then steps, give the logits of one pass", () =>
    using({ maxTokens: 48, maxLogits: 48 }, async (model) => {
      const ids = idsOf(41);
      const size = model.description.vocabularySize;
      const [all] = await model.run([{ ids, logits: "all" }]);
      const row = (t: number) => all!.subarray(t * size, (t + 1) * size);
      for (const chunk of [1, 2, 5, 16, 36]) {
        const session = await model.open();
        expect(relativeRms(await model.prefill(ids.slice(0, 36), session, { chunk }), row(35))).toBeLessThan(ROW_BOUND);
        for (let t = 36; t < ids.length; t++) {
          const [step] = await model.run([{ ids: [ids[t]!], session }]);
          expect(relativeRms(step!, row(t))).toBeLessThan(ROW_BOUND);
        }
        session.close();
      }
    }));

  test("packed prompts equal each alone", () =>
    using({ maxTokens: 64, maxLogits: 64 }, async (model) => {
      const prompts = [1, 23, 4, 17].map(idsOf);
      const together = await model.run(prompts.map((ids) => ({ ids, logits: "all" as const })));
      for (const [i, ids] of prompts.entries()) {
        const [alone] = await model.run([{ ids, logits: "all" }]);
        expect(relativeRms(together[i]!, alone!)).toBeLessThan(ROW_BOUND);
      }
    }));

  test("a snapshot in the middle of a generation goes on to the same tokens", () =>
    using({ maxTokens: 16, slots: 2 }, async (model) => {
      const prompts = [idsOf(19), idsOf(3)];
      const options = { maxTokens: 10, endTokens: [], temperature: 0.8, seed: 5 };
      const straight: number[][] = [[], []];
      for await (const { sequence, token } of Generation.start(model, prompts, options))
        straight[sequence]!.push(token);
      const first = Generation.start(model, prompts, options);
      const iterator = first[Symbol.asyncIterator]();
      for (let n = 0; n < 7; n++) await iterator.next();
      const snapshot = await first.snapshot();
      await iterator.return?.(undefined);
      const tokens = snapshot.sequences.map((s) => [...s.tokens]);
      expect(tokens.flat().length).toBeLessThan(20);
      for await (const { sequence, token } of await Generation.resume(model, snapshot)) tokens[sequence]!.push(token);
      expect(tokens).toEqual(straight);
    }));

  async function refused(tensors: Tensors, code: string, name: string, hint = /\w/): Promise<void> {
    await expect(loadCausalModel(device, await save(config, tensors)), `${code} of ${name}`).rejects.toMatchObject({
      kind: "input",
      code,
      message: expect.stringContaining(name),
      hint: expect.stringMatching(hint),
    });
  }

  test("a tensor that is missing, of another shape or of integers is named, whichever it is", async () => {
    for (const name of kinds) {
      const { shape, data } = whole[name]!;
      const { [name]: __, ...rest } = whole;
      await refused(rest, "TENSOR_MISSING", name);
      const turned = [...shape].reverse();
      if (turned.join() !== shape.join()) {
        await refused({ ...rest, [name]: { ...whole[name]!, shape: turned } }, "TENSOR_SHAPE", name, /transposed/);
      }
      const longer = { dtype: "f32", shape: [data.length, 1, 1, 1], data } as TensorToWriteF32;
      await refused({ ...rest, [name]: longer }, "TENSOR_SHAPE", name);
      await refused(
        { ...rest, [name]: { dtype: "i32", shape, data: new Int32Array(data.length) } },
        "TENSOR_DTYPE",
        name,
      );
    }
  });
  type TensorToWriteF32 = { dtype: "f32"; shape: number[]; data: Float32Array };

  test("a weight that is not finite is named with its place, whichever tensor it is in", async () => {
    for (const name of kinds) {
      const data = Float32Array.from(whole[name]!.data as Float32Array);
      data[data.length - 1] = Number.NaN;
      const tensors = { ...whole, [name]: { dtype: "f32", shape: whole[name]!.shape, data } as TensorToWriteF32 };
      await refused(tensors, "WEIGHT_NOT_FINITE", name);
    }
  });

  test("a tensor too many and a type of another name are refused", async () => {
    const extra = { dtype: "f32", shape: [2], data: new Float32Array(2) } as TensorToWriteF32;
    await refused({ ...whole, "layers.0.surplus.weight": extra }, "TENSOR_UNEXPECTED", "layers.0.surplus.weight");
    const folder = await save({ ...config, model_type: "of_another_name" }, whole);
    const unknown = { kind: "input", code: "MODEL_TYPE_UNKNOWN", message: expect.stringContaining("of_another_name") };
    await expect(loadCausalModel(device, folder)).rejects.toMatchObject({ ...unknown, hint: expect.any(String) });
    await expect(inspectModel(folder)).rejects.toMatchObject(unknown);
  });
});
