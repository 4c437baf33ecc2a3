import type { ModelTensor, PublishedConfig } from "../checkpoints/index.js";
import type { Block } from "./family.js";

/** Sizes along time (or tubelets), rows and columns. */
export interface Extent {
  frames: number;
  rows: number;
  columns: number;
}

/** An encoder of whole clips, pictures or spectrograms, as its family reads it out of config.json. */
export interface EncoderDescription {
  family: string;
  width: number;
  /** `frames`: [frames, channels, rows, columns]; `spectrogram`: [columns, rows], a row of bins per frame of time. */
  layout: "frames" | "spectrogram";
  channels: number;
  /** Of one clip, in pixels or bins. */
  input: Extent;
  /** Of one token. */
  patch: Extent;
  /** From one patch to the next; less than `patch` where they overlap. */
  stride: Extent;
  /** Tokens of a clip, less the class token. */
  grid: Extent;
  /** Whether neighbouring tokens are neighbours along columns or along rows. */
  order: "columns" | "rows";
  /** Where the class token stands among the tokens. */
  classPosition: "first" | "middle" | "last";
  /** Whether row i of the positions belongs to token i of the sequence, or row 0 to the class token and row 1 + i to patch i of a frame. */
  positionsBy: "token" | "patch";
  /** Weight [width, channels · patch] and bias. */
  projection: { weight: ModelTensor; bias: ModelTensor };
  classToken: ModelTensor;
  positions: ModelTensor;
  /** Added to every token of a tubelet. */
  temporal: ModelTensor | undefined;
  blocks: readonly Block[];
  finalNorm: ModelTensor;
  normEps: number;
  /** Classifies the class token. */
  head: { weight: ModelTensor; bias: ModelTensor; classes: number } | undefined;
  /** Published tensors that are not run. */
  ignored: RegExp | undefined;
}

/** A published encoder: which config.json it answers to, and how that maps to blocks. */
export interface EncoderFamily {
  name: string;
  matches(config: PublishedConfig): boolean;
  /**
   * @param names of the published tensors: where editions of a family differ in their names, they decide
   * @throws InputError (INVALID_CONFIG, CONFIG_UNSUPPORTED)
   */
  describe(config: PublishedConfig, names: ReadonlySet<string>): EncoderDescription;
}

/** Tokens of a clip, the class token included. */
export function clipTokens({ grid }: Pick<EncoderDescription, "grid">): number {
  return grid.frames * grid.rows * grid.columns + 1;
}

/** Numbers of a clip as it is given. */
export function clipElements({ channels, input }: Pick<EncoderDescription, "channels" | "input">): number {
  return channels * input.frames * input.rows * input.columns;
}
