import { dtypeSize } from "@krait/core";
import { Graph, type Value } from "@krait/graph";
import type { Device } from "@krait/runtime";
import { mapWeights, openModelFolder, readPublishedConfig } from "../checkpoints/index.js";
import { clipTokens, type EncoderDescription } from "../families/encoder-family.js";
import { describeEncoder, encoderFamilies } from "../families/index.js";
import { buildEncoder, encoderTensors, FeatureEncoder, type FeatureEncoderOptions } from "./feature-encoder.js";

/**
 * Loads a published encoder (VideoMamba, Vim, AuM): config.json and safetensors with the published tensor names.
 *
 * @throws InputError (MODEL_NOT_FOUND, MODEL_TYPE_UNKNOWN, INVALID_CONFIG, CONFIG_UNSUPPORTED, PICKLE_REFUSED, TENSOR_*, WEIGHT_NOT_FINITE)
 */
export async function loadFeatureEncoder(
  device: Device,
  folder: string,
  options: FeatureEncoderOptions = {},
): Promise<FeatureEncoder> {
  const config = await readPublishedConfig(folder);
  const files = await openModelFolder(folder);
  try {
    const description = describeEncoder(config, new Set(files.tensors.keys()));
    const weights = await mapWeights(files, encoderTensors(description), { ignored: description.ignored });
    return await FeatureEncoder.create(device, description, weights, options);
  } finally {
    await files.close();
  }
}

export interface FeatureEncoderReport {
  family: string;
  width: number;
  /** Kinds of blocks in the order of depth. */
  blocks: string[];
  parameters: number;
  bytes: { stored: number; f32: number; bf16: number };
  /** Of one clip: [frames, channels, rows, columns], or [frames, bins] of a spectrogram. */
  input: number[];
  /** Tokens of one clip, the class token included. */
  tokens: number;
  /** Of the head; 0 without one. */
  classes: number;
  flopsPerClip: number;
}

/**
 * Looks into a published encoder without loading its weights: config and headers alone.
 *
 * @returns undefined where config.json names no encoder family
 * @throws what `loadFeatureEncoder` throws, less what only the values of weights can show
 */
export async function inspectFeatureEncoder(folder: string): Promise<FeatureEncoderReport | undefined> {
  const config = await readPublishedConfig(folder);
  if (!encoderFamilies.some((family) => family.matches(config))) return undefined;
  const files = await openModelFolder(folder);
  try {
    const description = describeEncoder(config, new Set(files.tensors.keys()));
    const tensors = encoderTensors(description);
    await mapWeights(files, tensors, { ignored: description.ignored });
    const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    const bytes = (dtype: "f32" | "bf16") =>
      tensors.reduce((sum, t) => sum + elements(t.shape) * dtypeSize(t.dtype === "f32" ? "f32" : dtype), 0);
    const { input, channels } = description;
    return {
      family: description.family,
      width: description.width,
      blocks: description.blocks.map((b) => b.kind),
      parameters: tensors.reduce((sum, t) => sum + elements(t.shape), 0),
      bytes: { stored: files.bytes, f32: bytes("f32"), bf16: bytes("bf16") },
      input:
        description.layout === "frames"
          ? [input.frames, channels, input.rows, input.columns]
          : [input.columns, input.rows],
      tokens: clipTokens(description),
      classes: description.head?.classes ?? 0,
      flopsPerClip: flopsPerClip(description),
    };
  } finally {
    await files.close();
  }
}

function flopsPerClip(description: EncoderDescription): number {
  const graph = new Graph(description.family);
  const tokens = clipTokens(description);
  const T = graph.symbol("T", tokens);
  const S = graph.symbol("S", 1);
  const tensors = new Map<string, Value>();
  for (const p of encoderTensors(description))
    tensors.set(p.name, graph.parameter(p.name, "f32", p.programShape ?? p.shape));
  for (const s of description.blocks.flatMap((b) => b.states))
    tensors.set(s.name, graph.state(s.name, "f32", [1, ...s.shape]));
  const context = {
    cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
    stateIndex: graph.slots("stateIndex", S, 1),
    position: graph.input("position", "i64", [S]),
  };
  buildEncoder(description, { graph, tokens: T, maxTokens: tokens, dtype: "f32", tensors, context }, 1);
  return graph.cost().flops.capacity;
}
