import { z } from "zod";
import { type PublishedConfig, parseConfig, type TensorPart } from "../checkpoints/index.js";
import { attention } from "../layers/attention.js";
import { mamba2 } from "../layers/mamba2.js";
import { mlp } from "../layers/mlp.js";
import { moe } from "../layers/moe.js";
import { layerBlock } from "./block.js";
import type { Block, DescribeOptions, Family } from "./family.js";
import {
  activation,
  blockType,
  eightKeyHeads,
  eps,
  expectSilu,
  expectWholeWindow,
  flag,
  limit,
  modelType,
  shellFields,
  shellOf,
  size,
  unsupported,
} from "./fields.js";
import { attentionSources } from "./transformer-parts.js";

// Absent keys are what NemotronHConfig of transformers takes them for.
const schema = z.object({
  ...shellFields,
  vocab_size: size.default(131072),
  hidden_size: size.default(4096),
  layers_block_type: z.array(z.string()).max(1000).nullish(),
  layer_types: z.array(z.string()).max(1000).nullish(),
  hybrid_override_pattern: z.string().max(1000).nullish(),
  layer_norm_epsilon: eps,
  num_attention_heads: size.default(32),
  num_key_value_heads: eightKeyHeads,
  head_dim: size.nullish(),
  attention_head_dim: size.nullish(),
  attention_bias: flag(false),
  sliding_window: size.nullish(),
  mamba_num_heads: size.default(128),
  mamba_head_dim: size.default(64),
  n_groups: size.default(8),
  ssm_state_size: size.default(128),
  conv_kernel: size.default(4),
  use_bias: flag(false),
  use_conv_bias: flag(true),
  mamba_hidden_act: z.string().default("silu"),
  time_step_limit: limit,
  intermediate_size: size.default(21504),
  mlp_hidden_act: z.string().default("relu2"),
  mlp_bias: flag(false),
  n_routed_experts: size.default(8),
  num_experts_per_tok: size.default(2),
  moe_intermediate_size: size.default(7688),
  moe_shared_expert_intermediate_size: size.default(7688),
  moe_latent_size: size.nullish(),
  n_group: size.default(1),
  topk_group: size.default(1),
  norm_topk_prob: flag(true),
  routed_scaling_factor: z.number().default(1),
});
type Config = z.output<typeof schema>;

/** Keys by which some checkpoints were published; where they are there, they count. */
const formerNames = {
  mamba_n_groups: "n_groups",
  mamba_d_conv: "conv_kernel",
  mamba_dt_limit: "time_step_limit",
  mamba_conv_bias: "use_conv_bias",
  num_local_experts: "n_routed_experts",
};

function readConfig({ path, values }: PublishedConfig): Config {
  const renamed = Object.entries(formerNames).filter(([former]) => former in values);
  const current = Object.fromEntries(renamed.map(([former, name]) => [name, values[former]]));
  return parseConfig(schema, { path, values: { ...values, ...current } });
}

interface Scope {
  config: Config;
  file: PublishedConfig;
  options: DescribeOptions;
  layerCount: number;
}

const letters: Record<string, string> = { M: "mamba", "*": "attention", "-": "mlp", E: "moe" };

/** Nemotron-H: one mixer per layer behind one norm: Mamba-2, attention without positions, an MLP or a mixture of experts. arXiv 2504.03624. */
export const nemotronHFamily: Family = {
  name: "nemotron_h",
  matches: (config) => modelType(config) === "nemotron_h",
  describe(file, options) {
    const config = readConfig(file);
    expectWholeWindow(config.sliding_window, options.contextTokens, file.path);
    const pattern = config.hybrid_override_pattern;
    const types =
      config.layers_block_type?.map(blockType) ??
      config.layer_types?.map(blockType) ??
      (pattern ? [...pattern].map((letter) => letters[letter] ?? letter) : undefined);
    if (!types) throw unsupported(file.path, "layers_block_type", "a list of block types", types);
    // Published checkpoints say backbone, those that transformers 5 wrote may say model.
    const root =
      options.names.has("backbone.norm_f.weight") || !options.names.has("model.norm_f.weight") ? "backbone" : "model";
    const scope = { config, file, options, layerCount: types.length };
    const blocks = types.map((type, i) => {
      const build = Object.hasOwn(builders, type) ? builders[type] : undefined;
      if (!build) throw unsupported(file.path, "layers_block_type", "mamba, attention, mlp or moe", type);
      return build(scope, `${root}.layers.${i}`);
    });
    return {
      family: "nemotron_h",
      ...shellOf(config, { embedding: `${root}.embeddings.weight`, finalNorm: `${root}.norm_f.weight` }, options),
      blocks,
      normEps: config.layer_norm_epsilon,
      contextTokens: types.includes("attention") ? options.contextTokens : undefined,
      // Heads that predict several tokens at once serve training and speculation.
      ignored: /^mtp\./,
    };
  },
};

const shellFor = ({ config, layerCount }: Scope, layer: string) => ({
  prefix: `${layer}.mixer`,
  norm: `${layer}.norm.weight`,
  eps: config.layer_norm_epsilon,
  shell: { width: config.hidden_size, layerCount },
});

const builders: Record<string, (scope: Scope, layer: string) => Block> = {
  mamba(scope, layer) {
    const { config, file } = scope;
    expectSilu(config.mamba_hidden_act, file.path, "mamba_hidden_act");
    return layerBlock({
      ...shellFor(scope, layer),
      kind: mamba2,
      options: {
        stateSize: config.ssm_state_size,
        convWidth: config.conv_kernel,
        innerWidth: config.mamba_num_heads * config.mamba_head_dim,
        headDim: config.mamba_head_dim,
        groups: config.n_groups,
        normEps: config.layer_norm_epsilon,
        convBias: config.use_conv_bias,
        bias: config.use_bias,
        // time_step_min belongs to the initialisation. (The reference's own path for CPUs clamps Δ by it; its kernels do not.)
        ...config.time_step_limit,
      },
      sources: (name) => `${layer}.mixer.${name}`,
    });
  },

  attention(scope, layer) {
    const { config } = scope;
    const width = config.hidden_size;
    const heads = config.num_attention_heads;
    const keyHeads = config.num_key_value_heads ?? heads;
    const headDim = config.head_dim ?? config.attention_head_dim ?? 128;
    return layerBlock({
      ...shellFor(scope, layer),
      kind: attention,
      options: {
        heads,
        keyHeads,
        headDim,
        window: "full",
        sinks: 0,
        rotaryFraction: 0,
        bias: config.attention_bias,
      },
      sources: attentionSources(`${layer}.mixer`, { width, heads, keyHeads, headDim }),
    });
  },

  mlp(scope, layer) {
    const { config, file } = scope;
    const hidden = config.intermediate_size;
    return layerBlock({
      ...shellFor(scope, layer),
      kind: mlp,
      options: {
        hidden,
        activation: activation(config.mlp_hidden_act, file.path, "mlp_hidden_act"),
        bias: config.mlp_bias,
      },
      sources: (name) => `${layer}.mixer.${name.replace(".", "_proj.")}`,
    });
  },

  moe(scope, layer) {
    const { config, file } = scope;
    const { n_routed_experts: experts, num_experts_per_tok: topK, moe_intermediate_size: hidden } = config;
    if (config.moe_latent_size) throw unsupported(file.path, "moe_latent_size", "null", config.moe_latent_size);
    const mixer = `${layer}.mixer`;
    // One tensor per expert, or all of them in one.
    const stacked = scope.options.names.has(`${mixer}.experts.up_proj`);
    const each = (name: string, shape: readonly number[]): TensorPart[] =>
      stacked
        ? [{ tensor: `${mixer}.experts.${name}`, shape }]
        : Array.from({ length: experts }, (_, e) => ({
            tensor: `${mixer}.experts.${e}.${name}.weight`,
            shape: shape.slice(1),
          }));
    return layerBlock({
      ...shellFor(scope, layer),
      kind: moe,
      options: {
        experts,
        topK,
        hidden,
        activation: activation(config.mlp_hidden_act, file.path, "mlp_hidden_act"),
        gated: false,
        scoring: "sigmoid",
        correction: true,
        normalize: config.norm_topk_prob,
        scale: config.routed_scaling_factor,
        groups: config.n_group,
        keptGroups: config.topk_group,
        sharedHidden: config.moe_shared_expert_intermediate_size,
        sharedBias: config.mlp_bias,
      },
      sources: (name, { shape }) => {
        if (name === "router.weight") return `${mixer}.gate.weight`;
        if (name === "router.bias") return `${mixer}.gate.e_score_correction_bias`;
        if (name === "experts.up.weight") return each("up_proj", shape);
        if (name === "experts.down.weight") return each("down_proj", shape);
        return `${mixer}.shared_experts.${name.replace(/^shared_(up|down)\./, "$1_proj.")}`;
      },
    });
  },
};
