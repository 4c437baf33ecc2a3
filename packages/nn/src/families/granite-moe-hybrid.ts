import { z } from "zod";
import { type PublishedConfig, parseConfig } from "../checkpoints/index.js";
import { attention } from "../layers/attention.js";
import { gatedMlp } from "../layers/gated-mlp.js";
import { mamba2 } from "../layers/mamba2.js";
import { moe } from "../layers/moe.js";
import { layerBlock, type Source } from "./block.js";
import type { Block, Family } from "./family.js";
import {
  blockType,
  expectSilu,
  flag,
  layerCount,
  limit,
  modelType,
  multiplier,
  ropeFields,
  rotary,
  shellFields,
  shellOf,
  size,
  unsupported,
} from "./fields.js";
import { attentionSources } from "./transformer-parts.js";

// Absent keys are what GraniteMoeHybridConfig of transformers takes them for.
const schema = z.object({
  ...shellFields,
  ...ropeFields,
  vocab_size: size.default(32000),
  hidden_size: size.default(4096),
  num_hidden_layers: layerCount.default(32),
  layer_types: z.array(z.string()).nullish(),
  layers_block_type: z.array(z.string()).nullish(),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  attention_bias: flag(false),
  position_embedding_type: z.string().nullish(),
  intermediate_size: size.default(11008),
  shared_intermediate_size: size.default(1024),
  num_local_experts: z.int().min(0).max(1024).default(8),
  num_experts_per_tok: z.int().min(0).max(64).default(2),
  hidden_act: z.string().default("silu"),
  mamba_n_heads: size.default(128),
  mamba_d_head: z.union([size, z.literal("auto")]).default("auto"),
  mamba_n_groups: size.default(1),
  mamba_d_state: size.default(256),
  mamba_d_conv: size.default(4),
  mamba_expand: z.number().positive().default(2),
  mamba_conv_bias: flag(true),
  mamba_proj_bias: flag(false),
  time_step_limit: limit,
  rms_norm_eps: z.number().positive().default(1e-6),
  embedding_multiplier: multiplier,
  attention_multiplier: z.number().positive().default(1),
  residual_multiplier: multiplier,
  logits_scaling: z.number().positive().default(1),
});
type Config = z.output<typeof schema>;

/**
 * Granite 4: Mamba-2 or attention, then a gated MLP, to which a mixture of experts may be added. What a block adds to the stream is
 * multiplied by residual_multiplier: that is folded into the last weights of the block.
 */
export const graniteFamily: Family = {
  name: "granitemoehybrid",
  matches: (config) => modelType(config) === "granitemoehybrid",
  describe(file, options) {
    const config = parseConfig(schema, file);
    expectSilu(config.hidden_act, file.path);
    const { num_hidden_layers: count, rms_norm_eps: normEps } = config;
    const types = (config.layer_types ?? config.layers_block_type ?? Array<string>(count).fill("mamba")).map(blockType);
    if (types.length !== count) throw unsupported(file.path, "layer_types", `${count} types`, types);
    const blocks = types.flatMap((type, i) => {
      if (type !== "mamba" && type !== "attention")
        throw unsupported(file.path, "layer_types", "mamba or attention", type);
      const mixer = type === "attention" ? attentionBlock(config, file, i) : mambaBlock(config, i);
      return [mixer, mlpBlock(config, i)];
    });
    return {
      family: "granitemoehybrid",
      ...shellOf(config, { embedding: "model.embed_tokens.weight", finalNorm: "model.norm.weight" }, options),
      blocks,
      embeddingScale: config.embedding_multiplier,
      logitsScale: 1 / config.logits_scaling,
      normEps,
      contextTokens: types.includes("attention") ? options.contextTokens : undefined,
    };
  },
};

const shellFor = (config: Config) => ({ width: config.hidden_size, layerCount: config.num_hidden_layers });

function attentionBlock(config: Config, file: PublishedConfig, i: number): Block {
  const layer = `model.layers.${i}`;
  const width = config.hidden_size;
  const heads = config.num_attention_heads;
  const keyHeads = config.num_key_value_heads ?? heads;
  const headDim = config.head_dim ?? Math.trunc(width / heads);
  const position = config.position_embedding_type;
  if (position && position !== "rope")
    throw unsupported(file.path, "position_embedding_type", "rope or null", position);
  const turned = position ? rotary(config, file.path, headDim) : { rotaryFraction: 0 };
  return layerBlock({
    prefix: `${layer}.self_attn`,
    norm: `${layer}.input_layernorm.weight`,
    eps: config.rms_norm_eps,
    kind: attention,
    shell: shellFor(config),
    options: {
      heads,
      keyHeads,
      headDim,
      window: "full",
      sinks: 0,
      scale: config.attention_multiplier,
      bias: config.attention_bias,
      ...turned,
    },
    sources: attentionSources(
      `${layer}.self_attn`,
      { width, heads, keyHeads, headDim },
      { output: config.residual_multiplier },
    ),
  });
}

function mambaBlock(config: Config, i: number): Block {
  const layer = `model.layers.${i}`;
  const inner = Math.trunc(config.mamba_expand * config.hidden_size);
  return layerBlock({
    prefix: `${layer}.mamba`,
    norm: `${layer}.input_layernorm.weight`,
    eps: config.rms_norm_eps,
    kind: mamba2,
    shell: shellFor(config),
    options: {
      stateSize: config.mamba_d_state,
      convWidth: config.mamba_d_conv,
      innerWidth: inner,
      headDim: config.mamba_d_head === "auto" ? inner / config.mamba_n_heads : config.mamba_d_head,
      groups: config.mamba_n_groups,
      normEps: config.rms_norm_eps,
      normGroups: 1,
      convBias: config.mamba_conv_bias,
      bias: config.mamba_proj_bias,
      ...config.time_step_limit,
    },
    sources: (name, spec) =>
      scaledLast(`${layer}.mamba.${name}`, name, spec.shape, "out_proj", config.residual_multiplier),
  });
}

function mlpBlock(config: Config, i: number): Block {
  const layer = `model.layers.${i}`;
  const { shared_intermediate_size: shared, residual_multiplier: residual } = config;
  const common = {
    norm: `${layer}.post_attention_layernorm.weight`,
    eps: config.rms_norm_eps,
    shell: shellFor(config),
  };
  if (config.num_local_experts === 0) {
    const names: Record<string, string> = { gate_up: "input_linear", down: "output_linear" };
    return layerBlock({
      ...common,
      prefix: `${layer}.shared_mlp`,
      kind: gatedMlp,
      options: { hidden: shared },
      sources: (name, spec) => {
        const stored = `${layer}.shared_mlp.${names[name.split(".")[0]!]}.weight`;
        return scaledLast(stored, name, spec.shape, "down", residual);
      },
    });
  }
  const names: Record<string, string> = {
    "router.weight": "block_sparse_moe.router.layer.weight",
    "experts.up.weight": "block_sparse_moe.input_linear.weight",
    "experts.down.weight": "block_sparse_moe.output_linear.weight",
    "shared_up.weight": "shared_mlp.input_linear.weight",
    "shared_down.weight": "shared_mlp.output_linear.weight",
  };
  return layerBlock({
    ...common,
    prefix: `${layer}.block_sparse_moe`,
    kind: moe,
    options: {
      experts: config.num_local_experts,
      topK: config.num_experts_per_tok,
      hidden: config.intermediate_size,
      // A softmax over the chosen alone is the one over all, divided by the sum of the chosen.
      normalize: true,
      sharedHidden: shared,
    },
    sources: (name, spec): Source => {
      const scale = /down\.weight$/.test(name) ? residual : 1;
      return [{ tensor: `${layer}.${names[name]}`, shape: spec.shape, scale }];
    },
  });
}

/** A published tensor as it is, the ones of the last projection multiplied. */
function scaledLast(stored: string, name: string, shape: readonly number[], last: string, scale: number): Source {
  return [{ tensor: stored, shape, scale: name.startsWith(`${last}.`) ? scale : 1 }];
}
