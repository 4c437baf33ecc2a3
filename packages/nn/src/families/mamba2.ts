import { z } from "zod";
import { parseConfig } from "../checkpoints/index.js";
import { mamba2 } from "../layers/mamba2.js";
import { layerBlock } from "./block.js";
import type { Family } from "./family.js";
import { eps, expectSilu, flag, layerCount, limit, modelType, shellFields, shellOf, size } from "./fields.js";

// Absent keys are what Mamba2Config of transformers takes them for.
const schema = z.object({
  ...shellFields,
  vocab_size: size.default(32768),
  hidden_size: size.default(4096),
  num_hidden_layers: layerCount.default(64),
  state_size: size.default(128),
  conv_kernel: size.default(4),
  num_heads: size.default(128),
  head_dim: size.default(64),
  n_groups: size.default(8),
  layer_norm_epsilon: eps,
  hidden_act: z.string().default("silu"),
  time_step_limit: limit,
  use_bias: flag(false),
  use_conv_bias: flag(true),
});

/** Mamba-2 as transformers publishes it. Its gated norm takes the mean square over the whole width, whatever n_groups says. */
export const mamba2Family: Family = {
  name: "mamba2",
  matches: (config) => modelType(config) === "mamba2",
  describe(file, options) {
    const config = parseConfig(schema, file);
    expectSilu(config.hidden_act, file.path);
    const width = config.hidden_size;
    const blocks = Array.from({ length: config.num_hidden_layers }, (_, i) => {
      const prefix = `backbone.layers.${i}`;
      return layerBlock({
        prefix: `${prefix}.mixer`,
        norm: `${prefix}.norm.weight`,
        eps: config.layer_norm_epsilon,
        kind: mamba2,
        shell: { width, layerCount: config.num_hidden_layers },
        options: {
          stateSize: config.state_size,
          convWidth: config.conv_kernel,
          innerWidth: config.num_heads * config.head_dim,
          headDim: config.head_dim,
          groups: config.n_groups,
          normEps: config.layer_norm_epsilon,
          normGroups: 1,
          convBias: config.use_conv_bias,
          bias: config.use_bias,
          ...config.time_step_limit,
        },
        sources: (name) => `${prefix}.mixer.${name}`,
      });
    });
    return {
      family: "mamba2",
      ...shellOf(config, { embedding: "backbone.embeddings.weight", finalNorm: "backbone.norm_f.weight" }, options),
      blocks,
      normEps: config.layer_norm_epsilon,
      contextTokens: undefined,
    };
  },
};
