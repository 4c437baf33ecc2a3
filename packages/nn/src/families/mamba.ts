import { z } from "zod";
import { type PublishedConfig, parseConfig } from "../checkpoints/index.js";
import { mamba1 } from "../layers/mamba1.js";
import { layerBlock } from "./block.js";
import type { CausalDescription, DescribeOptions, Family } from "./family.js";
import { eps, expectSilu, flag, layerCount, modelType, shellFields, shellOf, size } from "./fields.js";

// Absent keys are what MambaConfig and FalconMambaConfig of transformers take them for.
const schema = z.object({
  ...shellFields,
  vocab_size: size.default(50280),
  hidden_size: size.default(768),
  tie_word_embeddings: flag(true),
  num_hidden_layers: layerCount.default(32),
  state_size: size.default(16),
  conv_kernel: size.default(4),
  expand: z.number().positive().default(2),
  time_step_rank: z.union([z.literal("auto"), size]).default("auto"),
  layer_norm_epsilon: eps,
  mixer_rms_eps: z.number().positive().default(1e-6),
  hidden_act: z.string().default("silu"),
  use_bias: flag(false),
  use_conv_bias: flag(true),
});

/** Mamba-1 as transformers publishes it. */
export const mambaFamily: Family = {
  name: "mamba",
  matches: (config) => modelType(config) === "mamba",
  describe: (file, options) => describe(file, options, "mamba"),
};

/** FalconMamba: Mamba-1 with norms without weights on what Δ, B and C are made from. arXiv 2410.05355. */
export const falconMambaFamily: Family = {
  name: "falcon_mamba",
  matches: (config) => modelType(config) === "falcon_mamba",
  describe: (file, options) => describe(file, options, "falcon_mamba"),
};

function describe(
  file: PublishedConfig,
  options: DescribeOptions,
  family: "mamba" | "falcon_mamba",
): CausalDescription {
  const config = parseConfig(schema, file);
  expectSilu(config.hidden_act, file.path);
  const width = config.hidden_size;
  const blocks = Array.from({ length: config.num_hidden_layers }, (_, i) => {
    const prefix = `backbone.layers.${i}`;
    return layerBlock({
      prefix: `${prefix}.mixer`,
      norm: `${prefix}.norm.weight`,
      eps: config.layer_norm_epsilon,
      kind: mamba1,
      shell: { width, layerCount: config.num_hidden_layers },
      options: {
        stateSize: config.state_size,
        convWidth: config.conv_kernel,
        innerWidth: Math.trunc(config.expand * width),
        dtRank: config.time_step_rank,
        convBias: config.use_conv_bias,
        selectionNorms: family === "falcon_mamba",
        selectionNormEps: config.mixer_rms_eps,
        bias: config.use_bias,
      },
      // Norms without weights are norms with weights of 1, which no file holds.
      sources: (name) => (name.endsWith("_norm.weight") ? [] : `${prefix}.mixer.${name}`),
    });
  });
  return {
    family,
    ...shellOf(config, { embedding: "backbone.embeddings.weight", finalNorm: "backbone.norm_f.weight" }, options),
    blocks,
    normEps: config.layer_norm_epsilon,
    contextTokens: undefined,
  };
}
