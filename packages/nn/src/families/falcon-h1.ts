import { z } from "zod";
import { parseConfig } from "../checkpoints/index.js";
import { gatedMlp } from "../layers/gated-mlp.js";
import type { ParameterSpec } from "../layers/index.js";
import { parallel } from "../layers/parallel.js";
import { layerBlock, type Source } from "./block.js";
import type { Family } from "./family.js";
import {
  eightKeyHeads,
  eps,
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
import { attentionSources, gatedMlpSources } from "./transformer-parts.js";

const ones = (n: number) => z.array(z.number()).length(n).nullish();

// Absent keys are what FalconH1Config of transformers takes them for.
const schema = z.object({
  ...shellFields,
  ...ropeFields,
  vocab_size: size.default(128000),
  hidden_size: size.default(4096),
  num_hidden_layers: layerCount.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: eightKeyHeads,
  head_dim: size.nullish(),
  attention_bias: flag(false),
  intermediate_size: size.default(14336),
  mlp_bias: flag(false),
  /** Of the projection out of Mamba-2, whose projection in has mamba_proj_bias. */
  projectors_bias: flag(false),
  hidden_act: z.string().default("silu"),
  /** null is mamba_expand · hidden_size. */
  mamba_d_ssm: size.nullable().default(1024),
  mamba_expand: z.number().positive().default(2),
  mamba_n_heads: size.default(128),
  mamba_d_head: z.union([size, z.literal("auto")]).default("auto"),
  mamba_n_groups: size.default(1),
  mamba_d_state: size.default(256),
  mamba_d_conv: size.default(4),
  mamba_conv_bias: flag(true),
  mamba_proj_bias: flag(false),
  mamba_rms_norm: flag(false),
  mamba_norm_before_gate: flag(true),
  time_step_limit: limit,
  rms_norm_eps: eps,
  embedding_multiplier: multiplier,
  lm_head_multiplier: multiplier,
  key_multiplier: multiplier,
  attention_in_multiplier: multiplier,
  attention_out_multiplier: multiplier,
  ssm_in_multiplier: multiplier,
  ssm_out_multiplier: multiplier,
  /** Over z, x, B, C, dt. */
  ssm_multipliers: ones(5),
  /** Of the gate and of the output. */
  mlp_multipliers: ones(2),
});

/** Falcon-H1: Mamba-2 and attention in parallel, then a gated MLP; all multipliers but two are folded into weights. arXiv 2507.22448. */
export const falconH1Family: Family = {
  name: "falcon_h1",
  matches: (config) => modelType(config) === "falcon_h1",
  describe(file, options) {
    const config = parseConfig(schema, file);
    expectSilu(config.hidden_act, file.path);
    if (!config.rope_parameters?.rope_theta && !config.rope_theta) {
      // Editions of the config's class take another base for granted, by a factor of ten.
      throw unsupported(file.path, "rope_theta", "the base of the rotary positions", config.rope_theta);
    }
    const { hidden_size: width, num_hidden_layers: count, rms_norm_eps: normEps } = config;
    const shell = { width, layerCount: count };
    const heads = config.num_attention_heads;
    const keyHeads = config.num_key_value_heads ?? heads;
    const headDim = config.head_dim ?? Math.trunc(width / heads);
    const inner = config.mamba_d_ssm ?? Math.trunc(config.mamba_expand * width);
    const bc = config.mamba_n_groups * config.mamba_d_state;
    const [z, x, b, c, dt] = config.ssm_multipliers ?? [1, 1, 1, 1, 1];
    const [gate, down] = config.mlp_multipliers ?? [1, 1];
    const projected = [
      { rows: inner, scale: z! },
      { rows: inner, scale: x! },
      { rows: bc, scale: b! },
      { rows: bc, scale: c! },
      { rows: config.mamba_n_heads, scale: dt! },
    ];
    // Results are multiplied with their bias; the multiplier of the input passes through weights only.
    const mambaSources =
      (prefix: string) =>
      (name: string, spec: ParameterSpec): Source => {
        const into = name === "in_proj.weight" ? config.ssm_in_multiplier : 1;
        const scale = name.startsWith("in_proj.")
          ? projected.map((p) => ({ ...p, scale: p.scale * into }))
          : name.startsWith("out_proj.")
            ? config.ssm_out_multiplier
            : 1;
        return [{ tensor: `${prefix}.${name}`, shape: spec.shape, scale }];
      };
    const blocks = Array.from({ length: count }, (_, i) => {
      const layer = `model.layers.${i}`;
      const mamba = mambaSources(`${layer}.mamba`);
      const attention = attentionSources(
        `${layer}.self_attn`,
        { width, heads, keyHeads, headDim },
        {
          input: config.attention_in_multiplier,
          key: config.key_multiplier,
          output: config.attention_out_multiplier,
        },
      );
      const mixer = layerBlock({
        prefix: `${layer}.mixer`,
        norm: `${layer}.input_layernorm.weight`,
        eps: normEps,
        kind: parallel,
        shell,
        options: {
          mamba: {
            stateSize: config.mamba_d_state,
            convWidth: config.mamba_d_conv,
            innerWidth: inner,
            headDim: config.mamba_d_head === "auto" ? inner / config.mamba_n_heads : config.mamba_d_head,
            groups: config.mamba_n_groups,
            normEps,
            norm: config.mamba_rms_norm ? "gated" : "none",
            normBeforeGate: config.mamba_norm_before_gate,
            convBias: config.mamba_conv_bias,
            bias: config.mamba_proj_bias,
            outBias: config.projectors_bias,
            ...config.time_step_limit,
          },
          attention: {
            heads,
            keyHeads,
            headDim,
            window: "full",
            sinks: 0,
            bias: config.attention_bias,
            ...rotary(config, file.path, headDim),
          },
        },
        sources: (name, spec) => {
          const [part, ...rest] = name.split(".");
          return (part === "mamba" ? mamba : attention)(rest.join("."), spec);
        },
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
        sources: gatedMlpSources(
          `${layer}.feed_forward`,
          { width, hidden: config.intermediate_size },
          { gate: gate!, output: down! },
        ),
      });
      return [mixer, mlp];
    }).flat();
    return {
      family: "falcon_h1",
      ...shellOf(
        config,
        { embedding: "model.embed_tokens.weight", finalNorm: "model.final_layernorm.weight" },
        options,
      ),
      blocks,
      embeddingScale: config.embedding_multiplier,
      logitsScale: config.lm_head_multiplier,
      normEps,
      contextTokens: options.contextTokens,
    };
  },
};
