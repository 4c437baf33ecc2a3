import { z } from "zod";
import { parseConfig } from "../checkpoints/index.js";
import { attention } from "../layers/attention.js";
import { gatedMlp } from "../layers/gated-mlp.js";
import { mamba2 } from "../layers/mamba2.js";
import { layerBlock } from "./block.js";
import type { Family } from "./family.js";
import {
  eightKeyHeads,
  eps,
  expectSilu,
  flag,
  layerCount,
  limit,
  modelType,
  ropeFields,
  rotary,
  shellFields,
  shellOf,
  size,
} from "./fields.js";
import { attentionSources, gatedMlpSources } from "./transformer-parts.js";

// Absent keys are what BambaConfig of transformers takes them for.
const schema = z.object({
  ...shellFields,
  ...ropeFields,
  vocab_size: size.default(128000),
  hidden_size: size.default(4096),
  num_hidden_layers: layerCount.default(32),
  attn_layer_indices: z.array(z.int().min(0)).nullish(),
  num_attention_heads: size.default(32),
  num_key_value_heads: eightKeyHeads,
  head_dim: size.nullish(),
  attention_bias: flag(false),
  intermediate_size: size.default(14336),
  mlp_bias: flag(false),
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
  rms_norm_eps: eps,
});

/** Bamba: Mamba-2 or attention, then a gated MLP, each behind its own norm. The gated norm spans the whole width. */
export const bambaFamily: Family = {
  name: "bamba",
  matches: (config) => modelType(config) === "bamba",
  describe(file, options) {
    const config = parseConfig(schema, file);
    expectSilu(config.hidden_act, file.path);
    const { hidden_size: width, num_hidden_layers: count, rms_norm_eps: normEps } = config;
    const shell = { width, layerCount: count };
    const attending = new Set(config.attn_layer_indices ?? []);
    const heads = config.num_attention_heads;
    const keyHeads = config.num_key_value_heads ?? heads;
    const headDim = config.head_dim ?? Math.trunc(width / heads);
    const inner = Math.trunc(config.mamba_expand * width);
    const blocks = Array.from({ length: count }, (_, i) => {
      const layer = `model.layers.${i}`;
      const norm = `${layer}.input_layernorm.weight`;
      const mixer = attending.has(i)
        ? layerBlock({
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
              ...rotary(config, file.path, headDim, 0.5),
              bias: config.attention_bias,
            },
            sources: attentionSources(`${layer}.self_attn`, { width, heads, keyHeads, headDim }),
          })
        : layerBlock({
            prefix: `${layer}.mamba`,
            norm,
            eps: normEps,
            kind: mamba2,
            shell,
            options: {
              stateSize: config.mamba_d_state,
              convWidth: config.mamba_d_conv,
              innerWidth: inner,
              headDim: config.mamba_d_head === "auto" ? inner / config.mamba_n_heads : config.mamba_d_head,
              groups: config.mamba_n_groups,
              normEps,
              normGroups: 1,
              convBias: config.mamba_conv_bias,
              bias: config.mamba_proj_bias,
              ...config.time_step_limit,
            },
            sources: (name) => `${layer}.mamba.${name}`,
          });
      const mlp = layerBlock({
        prefix: `${layer}.feed_forward`,
        norm: `${layer}.pre_ff_layernorm.weight`,
        eps: normEps,
        kind: gatedMlp,
        shell,
        options: {
          hidden: config.intermediate_size,
          bias: config.mlp_bias,
        },
        sources: gatedMlpSources(`${layer}.feed_forward`, { width, hidden: config.intermediate_size }),
      });
      return [mixer, mlp];
    }).flat();
    return {
      family: "bamba",
      ...shellOf(
        config,
        { embedding: "model.embed_tokens.weight", finalNorm: "model.final_layernorm.weight" },
        options,
      ),
      blocks,
      normEps,
      contextTokens: attending.size > 0 ? options.contextTokens : undefined,
    };
  },
};
