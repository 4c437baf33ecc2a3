import { z } from "zod";
import { parseConfig, type TensorPart } from "../checkpoints/index.js";
import { attention } from "../layers/attention.js";
import { gatedMlp } from "../layers/gated-mlp.js";
import { mamba1 } from "../layers/mamba1.js";
import { moe } from "../layers/moe.js";
import { layerBlock } from "./block.js";
import type { Family } from "./family.js";
import {
  blockType,
  eightKeyHeads,
  expectSilu,
  expectWholeWindow,
  flag,
  layerCount,
  modelType,
  shellFields,
  shellOf,
  size,
  unsupported,
} from "./fields.js";
import { attentionSources, gatedMlpSources } from "./transformer-parts.js";

// Absent keys are what JambaConfig of transformers takes them for.
const schema = z.object({
  ...shellFields,
  vocab_size: size.default(65536),
  hidden_size: size.default(4096),
  num_hidden_layers: layerCount.default(32),
  layers_block_type: z.array(z.string()).nullish(),
  layer_types: z.array(z.string()).nullish(),
  attn_layer_period: size.default(8),
  attn_layer_offset: z.int().min(0).default(4),
  expert_layer_period: size.default(2),
  expert_layer_offset: z.int().min(0).default(1),
  num_experts: size.max(1024).nullish(),
  num_local_experts: size.max(1024).nullish(),
  num_experts_per_tok: size.max(64).default(2),
  num_attention_heads: size.default(32),
  num_key_value_heads: eightKeyHeads,
  head_dim: size.nullish(),
  sliding_window: size.nullish(),
  intermediate_size: size.default(14336),
  hidden_act: z.string().default("silu"),
  mamba_d_state: size.default(16),
  mamba_d_conv: size.default(4),
  mamba_expand: z.number().positive().default(2),
  mamba_dt_rank: z.union([z.literal("auto"), size]).default("auto"),
  mamba_conv_bias: flag(true),
  mamba_proj_bias: flag(false),
  rms_norm_eps: z.number().positive().default(1e-6),
});

const norms: Record<string, string> = { dt_norm: "dt_layernorm", B_norm: "b_layernorm", C_norm: "c_layernorm" };

/** Jamba: Mamba-1 or attention without positions, then a gated MLP or a mixture of them; every so many layers. arXiv 2403.19887. */
export const jambaFamily: Family = {
  name: "jamba",
  matches: (config) => modelType(config) === "jamba",
  describe(file, options) {
    const config = parseConfig(schema, file);
    expectSilu(config.hidden_act, file.path);
    expectWholeWindow(config.sliding_window, options.contextTokens, file.path);
    const { hidden_size: width, num_hidden_layers: count, rms_norm_eps: normEps, intermediate_size: hidden } = config;
    const shell = { width, layerCount: count };
    const heads = config.num_attention_heads;
    const keyHeads = config.num_key_value_heads ?? heads;
    const headDim = config.head_dim ?? Math.trunc(width / heads);
    const every = (period: number, offset: number) => (i: number) => i % period === offset;
    const attends = every(config.attn_layer_period, config.attn_layer_offset);
    const mixes = every(config.expert_layer_period, config.expert_layer_offset);
    const listed = (config.layers_block_type ?? config.layer_types)?.map(blockType);
    if (listed && listed.length !== count) throw unsupported(file.path, "layer_types", `${count} types`, listed);
    const types = listed ?? Array.from({ length: count }, (_, i) => (attends(i) ? "attention" : "mamba"));

    const mixer = (type: string, layer: string) => {
      const norm = `${layer}.input_layernorm.weight`;
      if (type === "mamba") {
        return layerBlock({
          prefix: `${layer}.mamba`,
          norm,
          eps: normEps,
          kind: mamba1,
          shell,
          options: {
            stateSize: config.mamba_d_state,
            convWidth: config.mamba_d_conv,
            innerWidth: Math.trunc(config.mamba_expand * width),
            dtRank: config.mamba_dt_rank,
            convBias: config.mamba_conv_bias,
            selectionNorms: true,
            selectionNormEps: normEps,
            bias: config.mamba_proj_bias,
          },
          sources: (name) => `${layer}.mamba.${name.replace(/^\w+_norm/, (n) => norms[n] ?? n)}`,
        });
      }
      if (type !== "attention") throw unsupported(file.path, "layer_types", "mamba or attention", type);
      return layerBlock({
        prefix: `${layer}.self_attn`,
        norm,
        eps: normEps,
        kind: attention,
        shell,
        options: {
          heads,
          keyHeads,
          headDim,
          window: "full",
          sinks: 0,
          rotaryFraction: 0,
        },
        sources: attentionSources(`${layer}.self_attn`, { width, heads, keyHeads, headDim }),
      });
    };

    const feedForward = (i: number, layer: string) => {
      const common = { norm: `${layer}.pre_ff_layernorm.weight`, eps: normEps, shell };
      const prefix = `${layer}.feed_forward`;
      const experts = config.num_experts ?? config.num_local_experts ?? 16;
      if (experts === 1 || !mixes(i)) {
        return layerBlock({
          ...common,
          prefix,
          kind: gatedMlp,
          options: { hidden },
          sources: gatedMlpSources(prefix, { width, hidden }),
        });
      }
      const each = (names: readonly string[], shape: readonly number[]): TensorPart[] =>
        Array.from({ length: experts }, (_, e) =>
          names.map((name) => ({ tensor: `${prefix}.experts.${e}.${name}.weight`, shape })),
        ).flat();
      return layerBlock({
        ...common,
        prefix,
        kind: moe,
        options: { experts, topK: config.num_experts_per_tok, hidden },
        sources: (name) => {
          if (name === "experts.up.weight") return each(["gate_proj", "up_proj"], [hidden, width]);
          if (name === "experts.down.weight") return each(["down_proj"], [width, hidden]);
          return `${prefix}.${name}`;
        },
      });
    };

    return {
      family: "jamba",
      ...shellOf(
        config,
        { embedding: "model.embed_tokens.weight", finalNorm: "model.final_layernorm.weight" },
        options,
      ),
      blocks: types.flatMap((type, i) => [mixer(type, `model.layers.${i}`), feedForward(i, `model.layers.${i}`)]),
      normEps,
      contextTokens: types.includes("attention") ? options.contextTokens : undefined,
    };
  },
};
