import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expected, InputError, type LimitsInput } from "@krait/core";
import { openSafetensors, sha256File, writeAtomically, writeSafetensors } from "@krait/formats";
import { refuseOutside } from "./checkpoints/model-folder.js";
import { readPublishedConfig } from "./checkpoints/read-config.js";
import { embeddingParameters } from "./embeddings.js";
import {
  type ClassToken,
  type EncoderConfig,
  hasClassToken,
  parseEncoderConfigFile,
  planEncoderMemory,
} from "./encoder.js";
import type { ParameterSpec } from "./layers/index.js";
import { Stack } from "./stack.js";
import { checkWeights, type WeightSource } from "./weights.js";

/** An opened model folder. Close it when the weights have been read. */
export interface Checkpoint {
  config: EncoderConfig;
  weights: WeightSource;
  /** Of model.safetensors. */
  sha256: string;
  close(): Promise<void>;
}

/** The encoder's tensors, in the order of its config. */
export function encoderParameters(config: EncoderConfig): ParameterSpec[] {
  const stack = new Stack(config.stack);
  return [...embeddingParameters(config.inputs, stack.width, hasClassToken(config)), ...stack.blueprint().parameters];
}

/**
 * Opens `config.json` + `model.safetensors` of a folder, strictly.
 *
 * @throws InputError (MODEL_NOT_FOUND, INVALID_CONFIG, TENSOR_MISSING, TENSOR_UNEXPECTED, TENSOR_SHAPE, PICKLE_REFUSED, LINK_REFUSED, and
 * the reader's SAFETENSORS_* codes), AbortedError
 */
export async function openCheckpoint(
  folder: string,
  limits: LimitsInput = {},
  signal?: AbortSignal,
): Promise<Checkpoint> {
  const { config, weights, file } = await openFiles(folder, limits);
  try {
    const sha256 = await sha256File(weights.origin, signal && { signal });
    return { config, weights, sha256, close: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** What an encoder's folder says of itself. */
export interface EncoderReport {
  family: "krait_encoder";
  width: number;
  layout: string;
  /** Modalities that it takes. */
  inputs: string[];
  classToken: ClassToken;
  /** Elements of all tensors. */
  parameters: number;
  /** Bytes of the weights: as the file holds them, and as a program of either dtype keeps them. */
  bytes: { stored: number; f32: number; bf16: number };
  /** Bytes of carried state per sequence in either dtype; 0 where a layer looks ahead. */
  stateBytes: { f32: number; bf16: number };
  /** Tokens that keys and values were counted for; undefined where the state never grows. */
  contextTokens: number | undefined;
}

/**
 * Looks into the folder of an encoder without loading its weights: config and header alone.
 *
 * @param contextTokens tokens that full attention is counted for
 * @returns undefined for a folder of another kind of model
 * @throws what `openCheckpoint()` throws
 */
export async function inspectEncoder(
  folder: string,
  { contextTokens = 4096 }: { contextTokens?: number } = {},
): Promise<EncoderReport | undefined> {
  const { values } = await readPublishedConfig(folder);
  if (values.model_type !== "krait_encoder") return undefined;
  const { config, file } = await openFiles(folder, {});
  await file.close();
  const stack = new Stack(config.stack);
  // The chunk's size bears on working memory alone.
  const [f32, bf16] = (["f32", "bf16"] as const).map((dtype) =>
    planEncoderMemory(config, { dtype, maxTokens: 64, slots: 1, contextTokens }),
  );
  const { layout } = config.stack;
  return {
    family: "krait_encoder",
    width: stack.width,
    layout: typeof layout === "string" ? layout : layout.join(" "),
    inputs: Object.entries(config.inputs).flatMap(([name, input]) => (input ? [name] : [])),
    classToken: config.sequence.classToken ?? "none",
    parameters: encoderParameters(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    bytes: {
      stored: [...file.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
      f32: f32!.weightBytes,
      bf16: bf16!.weightBytes,
    },
    stateBytes: { f32: f32!.stateBytes, bf16: bf16!.stateBytes },
    contextTokens: stack.stateGrowth === "linear" ? contextTokens : undefined,
  };
}

/** Config and header, checked against each other. */
async function openFiles(folder: string, limits: LimitsInput) {
  const { values, path: configPath } = await readPublishedConfig(folder);
  const config = parseEncoderConfigFile(values, configPath);
  const path = join(folder, "model.safetensors");
  await refusePickles(folder, path);
  await refuseOutside(folder, path);
  const file = await openSafetensors(path, { limits });
  try {
    const weights: WeightSource = {
      origin: path,
      names: new Set(file.tensors.keys()),
      shapeOf: (name) => file.tensors.get(name)?.shape,
      read: (spec, signal) => file.readFloat32(spec.name, signal && { signal }),
    };
    checkWeights(weights, encoderParameters(config));
    return { config, weights, file };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Writes `config.json` and `model.safetensors` (float32); each appears whole or not at all. */
export async function saveCheckpoint(folder: string, config: EncoderConfig, weights: WeightSource): Promise<void> {
  const specs = encoderParameters(config);
  checkWeights(weights, specs);
  await mkdir(folder, { recursive: true });
  const tensors: Record<string, { dtype: "f32"; shape: readonly number[]; data: Float32Array }> = {};
  for (const spec of specs) tensors[spec.name] = { dtype: "f32", shape: spec.shape, data: await weights.read(spec) };
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "krait" });
  await writeAtomically(join(folder, "config.json"), async (handle) => {
    await handle.writeFile(`${JSON.stringify(config, null, 2)}\n`);
  });
}

async function refusePickles(folder: string, path: string): Promise<void> {
  if (await stat(path).catch(() => undefined)) return;
  for (const name of ["pytorch_model.bin", "model.pt", "model.pth", "model.bin", "model.ckpt"]) {
    if (!(await stat(join(folder, name)).catch(() => undefined))) continue;
    throw new InputError(expected("model.safetensors", `the weights in ${folder}`, name), {
      code: "PICKLE_REFUSED",
      hint: "Pickles can run code when they are read: convert it to safetensors where it comes from.",
    });
  }
  throw new InputError(expected("a file model.safetensors", `the model ${folder}`, undefined), {
    code: "MODEL_NOT_FOUND",
    hint: "The folder holds config.json but no weights.",
  });
}
