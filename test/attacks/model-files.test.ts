import { mkdir, rename, symlink } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "@krait/formats";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { describe, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectRefusal } from "../command.js";
import { plantModel, smallConfig } from "./models.js";

const words = ["--text", "words", "--model", "model"];
const { stack } = smallConfig;

const configs: Record<string, [string, object | Buffer]> = {
  "no layer": ["INVALID_LAYOUT", { ...smallConfig, stack: { ...stack, layout: "" } }],
  "minus one layer": ["INVALID_LAYOUT", { ...smallConfig, stack: { ...stack, layout: "M2x-1" } }],
  "a billion layers": ["INVALID_LAYOUT", { ...smallConfig, stack: { ...stack, layout: "M2x1000000000" } }],
  "a billion layers by nesting": [
    "INVALID_LAYOUT",
    { ...smallConfig, stack: { ...stack, layout: "((M2x1000)x1000)x1000" } },
  ],
  "a width of minus one": ["INVALID_CONFIG", { ...smallConfig, stack: { ...stack, width: -1 } }],
  "a version to come": ["INVALID_CONFIG", { ...smallConfig, version: 2 }],
  "a word nobody knows": ["INVALID_CONFIG", { ...smallConfig, colour: "red" }],
  "a prototype": ["JSON_FORBIDDEN_KEY", Buffer.from(JSON.stringify(smallConfig).replace("{", '{"__proto__":{"a":1},'))],
  "a tokenizer outside": ["INVALID_CONFIG", { ...smallConfig, inputs: { text: { tokenizer: "../tokenizer.json" } } }],
};

describe.skipIf(!compiled)("a model's config with", () => {
  it.each(Object.entries(configs))("%s is refused", async (name, [code, config]) => {
    const folder = await emptyFolder();
    if (name === "a tokenizer outside") await saved(folder, { tokenizer: "../tokenizer.json" });
    else await plantModel(folder, { "config.json": config, "model.safetensors": Buffer.alloc(64) });
    await expectRefusal(folder, words, { code });
  });
});

type Tensors = Record<string, { dtype: "f32"; shape: readonly number[]; data: Float32Array }>;

/** A whole model, whose tensors go through `spoil`. */
async function saved(folder: string, text: object = {}, spoil?: (tensors: Tensors) => void): Promise<string> {
  const model = join(folder, "model");
  await saveCheckpoint(model, parseEncoderConfig({ ...smallConfig, inputs: { text } }), seededWeights(1));
  if (!spoil) return model;
  const path = join(model, "model.safetensors");
  const tensors: Tensors = {};
  await using file = await openSafetensors(path);
  for (const [name, { shape }] of file.tensors) {
    tensors[name] = { dtype: "f32", shape, data: await file.readFloat32(name) };
  }
  spoil(tensors);
  await writeSafetensors(path, tensors);
  return model;
}

const NAME = "text.embedding.weight";
const spoilt: Record<string, [string, (tensors: Tensors) => void]> = {
  "hold a NaN": ["WEIGHT_NOT_FINITE", (t) => t[NAME]!.data.fill(Number.NaN, 7, 8)],
  "hold an infinity": ["WEIGHT_NOT_FINITE", (t) => t[NAME]!.data.fill(Number.NEGATIVE_INFINITY, 7, 8)],
  "lack a tensor": ["TENSOR_MISSING", (t) => delete t[NAME]],
  "hold one too many": ["TENSOR_UNEXPECTED", (t) => Object.assign(t, { extra: t[NAME] })],
  "hold one transposed": ["TENSOR_SHAPE", (t) => Object.assign(t, { [NAME]: { ...t[NAME], shape: [64, 256] } })],
};

describe.skipIf(!canEncode)("a model's weights that", () => {
  it.each(Object.entries(spoilt))("%s are refused", async (_, [code, spoil]) => {
    const folder = await emptyFolder();
    await saved(folder, {}, (tensors) => void spoil(tensors));
    await expectRefusal(folder, words, { code });
  });

  it.skipIf(process.platform === "win32")("lie behind a link out of the folder are refused", async () => {
    const folder = await emptyFolder();
    const model = await saved(folder);
    const elsewhere = join(folder, "elsewhere");
    await mkdir(elsewhere);
    await rename(join(model, "model.safetensors"), join(elsewhere, "model.safetensors"));
    for (const target of ["../elsewhere/model.safetensors", join(elsewhere, "model.safetensors")]) {
      await symlink(target, join(model, "model.safetensors"));
      await expectRefusal(folder, words, { code: "LINK_REFUSED" });
      await rename(join(model, "model.safetensors"), join(folder, `link-${target.length}`));
    }
  });
});
