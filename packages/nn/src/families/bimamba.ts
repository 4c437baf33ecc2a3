import { z } from "zod";
import { invalidConfig, type ModelTensor, type PublishedConfig } from "../checkpoints/index.js";
import { constant } from "../init.js";
import { mamba1 } from "../layers/mamba1.js";
import { layerBlock, published } from "./block.js";
import type { EncoderDescription, Extent } from "./encoder-family.js";
import type { Block } from "./family.js";
import { eps, flag, layerCount, size, unsupported } from "./fields.js";

/** What Vim and those made after it have in common: arguments of their constructors, as config.json holds them. */
export const bimambaFields = {
  embed_dim: size,
  depth: layerCount,
  d_state: size.optional(),
  ssm_cfg: z
    .object({
      d_state: size.default(16),
      d_conv: size.default(4),
      expand: z.number().positive().default(2),
      dt_rank: z.union([z.literal("auto"), size]).default("auto"),
      conv_bias: flag(true),
      bias: flag(false),
    })
    .nullish(),
  norm_epsilon: eps,
  rms_norm: flag(true),
  /** 0 or absent: the head is not run. */
  num_classes: z.int().min(0).nullish(),
  if_cls_token: flag(true),
  use_double_cls_token: flag(false),
  if_abs_pos_embed: flag(true),
  if_rope: flag(false),
  if_bidirectional: flag(false),
  init_layer_scale: z.number().nullish(),
};
type Config = z.output<z.ZodObject<typeof bimambaFields>>;

/** none: causal; v1: both ways on one convolution, each with its own A; v2: both ways with tensors of their own. */
export const bimambaTypes = ["none", "v1", "v2"] as const;
type BimambaType = (typeof bimambaTypes)[number];

/** The type that a checkpoint's tensors show. */
export function bimambaTypeOf(names: ReadonlySet<string>): BimambaType {
  if (names.has("layers.0.mixer.conv1d_b.weight")) return "v2";
  return names.has("layers.0.mixer.A_b_log") ? "v1" : "none";
}

/** Refuses by name what no published checkpoint has. */
export function expectPublished(config: Config, path: string): void {
  const fixed = { rms_norm: true, if_cls_token: true, if_abs_pos_embed: true } as const;
  const absent = { use_double_cls_token: false, if_rope: false, if_bidirectional: false } as const;
  for (const [field, wanted] of Object.entries({ ...fixed, ...absent })) {
    const given = config[field as keyof Config];
    if (given !== wanted) throw unsupported(path, field, String(wanted), given);
  }
  if (config.init_layer_scale != null) throw unsupported(path, "init_layer_scale", "null", config.init_layer_scale);
}

export interface BimambaParts {
  config: Config;
  type: BimambaType;
  /** Whether v2 halves the sum of both ways. */
  divides: boolean;
  input: Extent;
  patch: Extent;
  stride: Extent;
  channels: number;
  /** Shape of patch_embed.proj.weight behind the width. */
  kernel: readonly number[];
  positions: string;
  names: ReadonlySet<string>;
}

/** Everything of a description but the order of its tokens. */
export function bimambaParts(
  file: PublishedConfig,
  parts: BimambaParts,
): Omit<EncoderDescription, "family" | "layout" | "order" | "classPosition" | "positionsBy" | "temporal"> {
  const { config, input, patch, stride, channels, names } = parts;
  const width = config.embed_dim;
  const grid = gridOf(file, input, patch, stride);
  const columns = parts.kernel.reduce((a, b) => a * b, 1);
  const weight = published("patch_embed.proj.weight", [width, ...parts.kernel]);
  const classes = config.num_classes ?? 0;
  return {
    width,
    channels,
    input,
    patch,
    stride,
    grid,
    projection: {
      weight: { ...weight, programShape: [width, columns] },
      bias: published("patch_embed.proj.bias", [width]),
    },
    classToken: rows("cls_token", 1, width),
    positions: rows(parts.positions, grid.rows * grid.columns + 1, width),
    blocks: Array.from({ length: config.depth }, (_, i) => block(parts, i)),
    finalNorm: published("norm_f.weight", [width], "f32"),
    normEps: config.norm_epsilon,
    head:
      classes > 0
        ? { weight: published("head.weight", [classes, width]), bias: published("head.bias", [classes]), classes }
        : undefined,
    ignored: classes > 0 || !names.has("head.weight") ? undefined : /^head\.(weight|bias)$/,
  };
}

/** A table [1, count, width] of the file, of rows that are added to tokens or stand among them. */
export function rows(name: string, count: number, width: number): ModelTensor {
  const shape = [1, count, width];
  return {
    name,
    shape,
    programShape: [count, width],
    dtype: "f32",
    init: constant(0),
    parts: [{ tensor: name, shape }],
  };
}

function gridOf(file: PublishedConfig, input: Extent, patch: Extent, stride: Extent): Extent {
  const along = (side: keyof Extent): number => {
    const count = Math.floor((input[side] - patch[side]) / stride[side]) + 1;
    if (count >= 1 && stride[side] <= patch[side]) return count;
    throw invalidConfig(
      `Expected patches that lie within the input without gaps for ${file.path} but received ${patch[side]} every ${stride[side]} of ${input[side]} ${side}`,
      "Compare the sizes of patches, strides and inputs with the published ones.",
    );
  };
  return { frames: along("frames"), rows: along("rows"), columns: along("columns") };
}

function block({ config, type, divides }: BimambaParts, index: number): Block {
  const { embed_dim: width, depth, ssm_cfg: ssm } = config;
  const layer = `layers.${index}`;
  return layerBlock({
    prefix: `${layer}.mixer`,
    norm: `${layer}.norm.weight`,
    eps: config.norm_epsilon,
    kind: mamba1,
    shell: { width, layerCount: depth },
    options: {
      stateSize: config.d_state ?? ssm?.d_state ?? 16,
      convWidth: ssm?.d_conv ?? 4,
      innerWidth: Math.floor((ssm?.expand ?? 2) * width),
      dtRank: ssm?.dt_rank ?? "auto",
      convBias: ssm?.conv_bias ?? true,
      bias: ssm?.bias ?? false,
      direction: type === "none" ? "causal" : "bidirectional",
      backward: type === "v1" ? "decay" : "separate",
      combine: type === "v2" && divides ? "mean" : "sum",
    },
    sources: (name) => `${layer}.mixer.${name}`,
  });
}
