import { expected, InputError } from "@krait/core";
import { z } from "zod";
import { parseConfig, type TensorAlias } from "../checkpoints/index.js";
import { mamba2 } from "../layers/mamba2.js";
import { layerBlock } from "./block.js";
import type { Block, Family } from "./family.js";
import {
  activation,
  blockType,
  eps,
  flag,
  layerCount,
  limit,
  modelType,
  ropeFields,
  rotary,
  shellFields,
  shellOf,
  size,
  unsupported,
} from "./fields.js";
import { sharedTransformer } from "./zamba2-shared.js";

// Absent keys are what Zamba2Config of transformers takes them for.
const schema = z.object({
  ...shellFields,
  ...ropeFields,
  vocab_size: size.default(32000),
  hidden_size: size.default(2560),
  tie_word_embeddings: flag(true),
  num_hidden_layers: layerCount.default(54),
  layers_block_type: z.array(z.string()).nullish(),
  layer_types: z.array(z.string()).nullish(),
  num_mem_blocks: size.default(1),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  use_mem_rope: flag(false),
  use_long_context: flag(false),
  use_shared_attention_adapter: flag(false),
  adapter_rank: size.default(128),
  add_bias_linear: flag(false),
  /** 4 · hidden_size unless told. */
  intermediate_size: size.nullish(),
  hidden_act: z.string().default("gelu"),
  mamba_d_state: size.default(64),
  mamba_d_conv: size.default(4),
  mamba_expand: z.number().positive().default(2),
  mamba_ngroups: size.default(1),
  n_mamba_heads: size.default(8),
  time_step_limit: limit,
  rms_norm_eps: eps,
});

// The gated norm of the reference has an eps of its own.
const GATED_NORM_EPS = 1e-5;

/**
 * Zamba2: Mamba-2 layers, and hybrid ones whose Mamba-2 also receives the output of a transformer that reads the stream beside the
 * embedded tokens. A few transformers are shared by all hybrid layers in turn; small adapters and a projection are each layer's own.
 * arXiv 2411.15242.
 */
export const zamba2Family: Family = {
  name: "zamba2",
  matches: (config) => modelType(config) === "zamba2",
  describe(file, options) {
    const config = parseConfig(schema, file);
    const { hidden_size: width, num_hidden_layers: count, rms_norm_eps: normEps, num_mem_blocks: sharers } = config;
    if (config.use_long_context) throw unsupported(file.path, "use_long_context", "false", true);
    const types = (config.layers_block_type ?? config.layer_types ?? []).map(blockType);
    if (types.length !== count) throw unsupported(file.path, "layers_block_type", `${count} types`, types);
    const hybrids = types.flatMap((type, i) => (type === "hybrid" ? [i] : []));
    const heads = config.num_attention_heads;
    // Whatever attention_head_dim says: transformers does not read it either.
    const headDim = Math.trunc((2 * width) / heads);
    const inner = Math.trunc(config.mamba_expand * width);
    const aliases: TensorAlias[] = [];

    const mamba = (layer: string): Block =>
      layerBlock({
        prefix: `${layer}.mamba`,
        norm: `${layer}.input_layernorm.weight`,
        eps: normEps,
        kind: mamba2,
        shell: { width, layerCount: count },
        options: {
          stateSize: config.mamba_d_state,
          convWidth: config.mamba_d_conv,
          innerWidth: inner,
          headDim: inner / config.n_mamba_heads,
          groups: config.mamba_ngroups,
          normEps: GATED_NORM_EPS,
          bias: config.add_bias_linear,
          // time_step_min belongs to the initialisation. (The reference's own path for CPUs clamps Δ by it; its kernels do not.)
          ...config.time_step_limit,
        },
        sources: (name) => `${layer}.mamba.${name}`,
      });

    const blocks = types.flatMap((type, i): Block[] => {
      const layer = `model.layers.${i}`;
      if (type === "mamba") return [mamba(layer)];
      if (type !== "hybrid") throw unsupported(file.path, "layers_block_type", "mamba or hybrid", type);
      const use = hybrids.indexOf(i);
      // Uses 0, sharers, 2·sharers, … run on the same weights. They are saved with the first; where they are saved again, they agree.
      const users = hybrids.filter((_, u) => u % sharers === use % sharers);
      const home = `model.layers.${users[0]}.shared_transformer`;
      if (users[0] !== i) {
        const again = `${layer}.shared_transformer`;
        for (const name of options.names)
          if (name.startsWith(`${again}.`)) aliases.push({ tensor: name, of: home + name.slice(again.length) });
      }
      const shared = sharedTransformer({
        layer,
        home,
        use,
        width,
        eps: normEps,
        heads,
        keyHeads: config.num_key_value_heads ?? heads,
        headDim,
        rotary: config.use_mem_rope ? rotary(config, file.path, headDim) : undefined,
        hidden: config.intermediate_size ?? 4 * width,
        activation: activation(config.hidden_act, file.path),
        bias: config.add_bias_linear,
        rank: config.adapter_rank,
        attentionAdapters: config.use_shared_attention_adapter,
      });
      return [shared(mamba(`${layer}.mamba_decoder`))];
    });
    const stray = aliases.find(({ of }) => !options.names.has(of));
    if (stray) {
      throw new InputError(expected(`tensor ${stray.of}`, file.path, `only its copy ${stray.tensor}`), {
        code: "TENSOR_MISSING",
        hint: "Shared weights are saved with the first layer that uses them.",
      });
    }
    const shell = shellOf(
      config,
      { embedding: "model.embed_tokens.weight", finalNorm: "model.final_layernorm.weight" },
      options,
    );
    return {
      family: "zamba2",
      ...shell,
      aliases: [...shell.aliases, ...aliases],
      blocks,
      normEps,
      contextTokens: hybrids.length > 0 ? options.contextTokens : undefined,
    };
  },
};
