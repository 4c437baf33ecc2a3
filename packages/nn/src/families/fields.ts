import { expected, InputError } from "@krait/core";
import { z } from "zod";
import type { PublishedConfig } from "../checkpoints/index.js";
import { published } from "./block.js";
import type { CausalDescription, DescribeOptions } from "./family.js";

/** Fields that configs of several families share, as transformers writes them. */
export const size = z
  .int()
  .positive()
  .max(1 << 24);
export const layerCount = z.int().positive().max(1000);
export const eps = z.number().positive().default(1e-5);
export const flag = (value: boolean) => z.boolean().default(value);
/** A factor; null is 1 as well. */
export const multiplier = z
  .number()
  .nullish()
  .transform((v) => v ?? 1);
/** Key heads as most families have them: 8 unless told, as many as query heads for null. */
export const eightKeyHeads = size.nullable().default(8);

const anyNumber = z.custom<number>((v) => typeof v === "number" && !Number.isNaN(v), "a number");
/** [least, most] of Δ; most may be infinite. */
export const limit = z
  .tuple([anyNumber, anyNumber])
  .nullish()
  .transform((v) => clampLimit(v?.[0] ?? 0, v?.[1] ?? Number.POSITIVE_INFINITY));

const MOST = 3.4028234663852886e38;

/** The bounds of Δ as the scan takes them. */
export function clampLimit(low: number, high: number) {
  return { dtMin: Math.max(0, low), dtMax: Math.min(MOST, high) };
}

export const shellFields = {
  vocab_size: size,
  hidden_size: size,
  tie_word_embeddings: flag(false),
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
};

export const ropeFields = {
  rope_theta: z.number().positive().optional(),
  partial_rotary_factor: z.number().min(0).max(1).optional(),
  rope_scaling: z.looseObject({ rope_type: z.string().optional(), type: z.string().optional() }).nullish(),
  rope_parameters: z
    .looseObject({
      rope_theta: z.number().positive().optional(),
      rope_type: z.string().optional(),
      partial_rotary_factor: z.number().min(0).max(1).optional(),
    })
    .nullish(),
};
type RopeFields = z.output<z.ZodObject<typeof ropeFields>>;

/** Plain rotary positions; scaled ones (yarn, llama3, …) are refused, and heads of which an odd number of dimensions would turn. */
export function rotary(config: RopeFields, path: string, headDim: number, fraction = 1) {
  const { rope_parameters: parameters, rope_scaling: scaling } = config;
  const type = parameters?.rope_type ?? scaling?.rope_type ?? scaling?.type ?? "default";
  if (type !== "default") throw unsupported(path, "rope_type", "default", type);
  const share = parameters?.partial_rotary_factor ?? config.partial_rotary_factor ?? fraction;
  const dims = Math.trunc(headDim * share);
  if (dims % 2 !== 0)
    throw unsupported(path, "partial_rotary_factor", `a share that turns an even part of heads of ${headDim}`, share);
  return {
    rotaryBase: parameters?.rope_theta ?? config.rope_theta ?? 10000,
    rotaryFraction: dims / headDim,
  };
}

const activationNames: Record<string, "silu" | "gelu" | "gelu_tanh" | "relu" | "relu2"> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  relu: "relu",
  relu2: "relu2",
};

export function activation(name: string, path: string, field = "hidden_act") {
  const found = Object.hasOwn(activationNames, name) ? activationNames[name] : undefined;
  if (found) return found;
  throw unsupported(path, field, `one of ${Object.keys(activationNames).join(", ")}`, name);
}

/** The convolution and the gate of Mamba know silu alone; families with one activation for all say it of their MLPs too. */
export function expectSilu(name: string, path: string, field = "hidden_act"): void {
  if (activation(name, path, field) !== "silu") throw unsupported(path, field, "silu", name);
}

/** Both vocabularies of transformers: mamba / attention, and since version 5 linear_attention / full_attention. */
export function blockType(name: string): string {
  if (name === "linear_attention") return "mamba";
  if (name === "full_attention") return "attention";
  return name;
}

/** Editions of the families disagree on whether attention looks through a config's window: only one that holds everything is run. */
export function expectWholeWindow(window: number | null | undefined, contextTokens: number, path: string): void {
  if (window && window < contextTokens)
    throw unsupported(path, "sliding_window", `null, or at least the ${contextTokens} tokens of contextTokens`, window);
}

export function unsupported(path: string, field: string, what: string, received: unknown): InputError {
  return new InputError(expected(what, `${path} ${field}`, received), {
    code: "CONFIG_UNSUPPORTED",
    hint: "This variant of the architecture is not implemented.",
  });
}

export function modelType(config: PublishedConfig): unknown {
  return config.values.model_type;
}

export interface ShellNames {
  embedding: string;
  finalNorm: string;
  /** Of an untied head. */
  head?: string;
}

type ShellConfig = z.output<z.ZodObject<typeof shellFields>>;

/** Everything of a description that is no block: embedding, final norm and head. */
export function shellOf(
  config: ShellConfig,
  names: ShellNames,
  { names: stored }: DescribeOptions,
): Pick<
  CausalDescription,
  | "width"
  | "vocabularySize"
  | "embedding"
  | "embeddingScale"
  | "finalNorm"
  | "head"
  | "logitsScale"
  | "endTokens"
  | "aliases"
> {
  const { vocab_size: vocabularySize, hidden_size: width, tie_word_embeddings: tied } = config;
  const { embedding, finalNorm, head = "lm_head.weight" } = names;
  const table = published(embedding, [vocabularySize, width]);
  const end = config.eos_token_id;
  return {
    width,
    vocabularySize,
    embedding: table,
    embeddingScale: 1,
    finalNorm: published(finalNorm, [width], "f32"),
    head: tied ? table : published(head, [vocabularySize, width]),
    logitsScale: 1,
    endTokens: end === undefined || end === null ? [] : [end].flat(),
    // Some tied checkpoints were saved with the head all the same.
    aliases: tied && stored.has(head) ? [{ tensor: head, of: embedding }] : [],
  };
}
