import type { ModelTensor, PublishedConfig, TensorAlias } from "../checkpoints/index.js";
import type { StateSpec } from "../layers/index.js";
import type { RoutedLayer } from "../routing.js";
import type { Pass } from "./pass.js";

/** One step of a model along its depth: reads the residual stream and adds to it. */
export interface Block {
  /** What it is, for people: `mamba2`, `attention`, `moe`. */
  kind: string;
  prefix: string;
  tensors: readonly ModelTensor[];
  states: readonly StateSpec[];
  /** Absent where it chooses among no experts. */
  routed?: RoutedLayer | undefined;
  forward(pass: Pass): void;
}

/** A causal language model as its family reads it out of config.json. */
export interface CausalDescription {
  family: string;
  width: number;
  vocabularySize: number;
  blocks: readonly Block[];
  embedding: ModelTensor;
  /** Multiplies the embedded tokens. */
  embeddingScale: number;
  finalNorm: ModelTensor;
  normEps: number;
  /** The embedding itself where the two are tied. */
  head: ModelTensor;
  logitsScale: number;
  /** Tokens that the keys and values of attention are kept for; undefined without attention: the state never grows. */
  contextTokens: number | undefined;
  /** Tokens that end a text. */
  endTokens: readonly number[];
  aliases: readonly TensorAlias[];
  /** Published tensors that inference does not need. */
  ignored?: RegExp;
}

export interface DescribeOptions {
  /** Names of the published tensors: where editions of a family differ in their names, they decide. */
  names: ReadonlySet<string>;
  /** Tokens that attention layers keep keys and values for. */
  contextTokens: number;
}

/** A published architecture: which config.json it answers to, and how that maps to blocks. */
export interface Family {
  name: string;
  matches(config: PublishedConfig): boolean;
  /** Throws `InputError` (INVALID_CONFIG, CONFIG_UNSUPPORTED). */
  describe(config: PublishedConfig, options: DescribeOptions): CausalDescription;
}
