import {
  binary,
  concatenateRows,
  copy,
  type Dim,
  embedding,
  type Graph,
  linear,
  unfoldPatches,
  type Value,
} from "@krait/graph";
import { z } from "zod";
import { kaimingUniform, normal } from "./init.js";
import type { ParameterSpec } from "./layers/index.js";

const triple = z.tuple([z.number(), z.number(), z.number()]);

/** Video and images: tubelets of patches, one token each. */
export const videoInputSchema = z.strictObject({
  /** Frames per tubelet. */
  tubelet: z.int().min(1).max(16).default(2),
  patch: z.int().min(1).max(256).default(16),
  /** Pixels; whole patches. */
  width: z.int().positive().max(8192).default(224),
  height: z.int().positive().max(8192).default(224),
  mean: triple.default([0.485, 0.456, 0.406]),
  std: triple.default([0.229, 0.224, 0.225]),
});

/** Audio: Whisper log-mel frames of 10 ms, `stack` of them to a token. */
export const audioInputSchema = z.strictObject({
  melBins: z.union([z.literal(80), z.literal(128)]).default(80),
  /** 8, 4 or 2: 12.5, 25 or 50 tokens per second. */
  stack: z.union([z.literal(2), z.literal(4), z.literal(8)]).default(8),
  normalization: z.enum(["fixed", "running"]).default("fixed"),
});

export const textInputSchema = z.strictObject({
  /** `bytes`, or the name of a tokenizer.json beside config.json. */
  tokenizer: z.string().default("bytes"),
  vocabularySize: z.int().positive().max(1_000_000).default(256),
});

export const inputsSchema = z.strictObject({
  video: videoInputSchema.optional(),
  audio: audioInputSchema.optional(),
  text: textInputSchema.optional(),
});
export type InputsConfig = z.output<typeof inputsSchema>;

/** Rows of `modality.weight`, and behind them `class.weight`: what is added to every token of a modality. A separator and the class token are their row alone. */
export const modalityRows = { text: 0, audio: 1, video: 2, separator: 3, class: 4 } as const;

/** Tokens of one tubelet. */
export function patchesPerTubelet(video: z.output<typeof videoInputSchema>): number {
  return Math.floor(video.height / video.patch) * Math.floor(video.width / video.patch);
}

export function embeddingParameters(inputs: InputsConfig, width: number, hasClass: boolean): ParameterSpec[] {
  const specs: ParameterSpec[] = [];
  const { video, audio, text } = inputs;
  const projection = (name: string, shape: readonly number[]): void => {
    const columns = shape.slice(1).reduce((a, b) => a * b, 1);
    const init = kaimingUniform(columns);
    specs.push({ name: `${name}.weight`, shape, programShape: [width, columns], dtype: "weight", init });
    specs.push({ name: `${name}.bias`, shape: [width], dtype: "weight", init });
  };
  // Laid out as a Conv3d weight [D, C, t, p, p], so that published tubelet embeddings load as they are.
  if (video) projection("video.embedding", [width, 3, video.tubelet, video.patch, video.patch]);
  if (audio) projection("audio.embedding", [width, audio.stack * audio.melBins]);
  if (text) {
    specs.push({
      name: "text.embedding.weight",
      shape: [text.vocabularySize, width],
      dtype: "weight",
      init: normal(0.02),
    });
  }
  specs.push({ name: "modality.weight", shape: [4, width], dtype: "weight", init: normal(0.02) });
  if (hasClass) specs.push({ name: "class.weight", shape: [1, width], dtype: "weight", init: normal(0.02) });
  return specs;
}

export interface EmbeddingScope {
  graph: Graph;
  tensors: ReadonlyMap<string, Value>;
  tokens: Dim;
  maxTokens: number;
  dtype: "f32" | "bf16";
  /** dtype of the rows that come out: the residual stream's. */
  outDtype: "f32" | "bf16";
  /** Whether there is a class token. */
  hasClass: boolean;
}

/**
 * Program inputs of a chunk to token rows [T, width]. The chunk's sources are embedded each on its own, one after the other
 * (tubelets in full, mel rows, text ids, one row of zeros for separators and the class token), then gathered by `rows` into the order of the sequence.
 */
export function embedTokens(inputs: InputsConfig, scope: EmbeddingScope): Value {
  const { graph, tensors, maxTokens, dtype, outDtype, hasClass } = scope;
  const weight = (name: string) => tensors.get(name)!;
  const parts: Value[] = [];
  const { video, audio, text } = inputs;
  if (video) {
    const perTubelet = patchesPerTubelet(video);
    const V = graph.symbol("V", Math.ceil(maxTokens / perTubelet) + 1);
    const frames = graph.input("frames", "u8", [V, video.tubelet, video.height, video.width, 3]);
    const scale = graph.input("pixelScale", "f32", [3]);
    const shift = graph.input("pixelShift", "f32", [3]);
    const patches = unfoldPatches({ frames, scale, shift }, { patch: video.patch, outDtype: dtype }).y;
    parts.push(
      linear(
        { x: patches, weight: weight("video.embedding.weight"), bias: weight("video.embedding.bias") },
        { outDtype },
      ).y,
    );
  }
  if (audio) {
    const A = graph.symbol("A", maxTokens);
    const mel = graph.input("mel", "f32", [A, audio.stack * audio.melBins]);
    const x = dtype === "f32" ? mel : copy(mel, dtype);
    parts.push(
      linear({ x, weight: weight("audio.embedding.weight"), bias: weight("audio.embedding.bias") }, { outDtype }).y,
    );
  }
  if (text) {
    const X = graph.symbol("X", maxTokens);
    const ids = graph.indices("textIds", X, 0, text.vocabularySize);
    parts.push(embedding({ table: weight("text.embedding.weight"), ids }, { outDtype }).y);
  }
  parts.push(graph.input("separator", outDtype, [1, scope.tensors.get("modality.weight")!.inner(1)]));
  const all = concatenateRows(parts);
  const rows = graph.indices("rows", scope.tokens, 0, all.shape[0]!);
  const kinds = hasClass
    ? concatenateRows([weight("modality.weight"), weight("class.weight")])
    : weight("modality.weight");
  const modality = graph.indices("modality", scope.tokens, 0, hasClass ? 5 : 4);
  const x = embedding({ table: all, ids: rows }).y;
  const added = embedding({ table: kinds, ids: modality }, { outDtype }).y;
  return binary({ a: x, b: added }, { kind: "add" }).y;
}
