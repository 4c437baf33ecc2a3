import { z } from "zod";
import { type PublishedConfig, parseConfig } from "../checkpoints/index.js";
import { attention } from "../layers/attention.js";
import { gatedMlp } from "../layers/gated-mlp.js";
import { mamba1 } from "../layers/mamba1.js";
import { mamba2 } from "../layers/mamba2.js";
import { mamba3 } from "../layers/mamba3.js";
import { layerBlock } from "./block.js";
import type { Block, Family } from "./family.js";
import { flag, layerCount, limit, shellOf, size, unsupported } from "./fields.js";

/** Of mamba_ssm's own blocks: its configs do not name it. */
const EPS = 1e-5;

const schema = z.object({
  d_model: size,
  n_layer: layerCount,
  vocab_size: size,
  d_intermediate: z.int().min(0).default(0),
  ssm_cfg: z
    .looseObject({
      layer: z.string().default("Mamba1"),
      d_state: size.optional(),
      dt_rank: z.union([z.literal("auto"), size]).default("auto"),
      d_conv: size.default(4),
      expand: z.number().positive().default(2),
      headdim: size.default(64),
      ngroups: size.default(1),
      d_ssm: size.nullish(),
      D_has_hdim: flag(false),
      rmsnorm: flag(true),
      norm_before_gate: flag(false),
      dt_limit: limit,
      bias: flag(false),
      conv_bias: flag(true),
      rope_fraction: z.union([z.literal(0.5), z.literal(1)]).default(0.5),
      A_floor: z.number().min(0).default(1e-4),
      is_outproj_norm: flag(false),
      is_mimo: flag(false),
      /** Not among mamba_ssm's own: Mamba-3 took softplus before June 2026, and its checkpoints do not tell. */
      a_activation: z.enum(["heavy_tail", "softplus"]).default("heavy_tail"),
    })
    .prefault({}),
  attn_layer_idx: z.array(z.int().min(0)).default([]),
  attn_cfg: z
    .looseObject({
      causal: flag(false),
      num_heads: size.optional(),
      num_heads_kv: size.nullish(),
      head_dim: size.nullish(),
      d_conv: z.int().min(0).default(0),
      rotary_emb_dim: z.int().min(0).default(0),
      rotary_emb_base: z.number().positive().default(10000),
      rotary_emb_interleaved: flag(false),
      softmax_scale: z.number().positive().nullish(),
      mlp_dim: z.int().min(0).default(0),
      qkv_proj_bias: flag(true),
      out_proj_bias: flag(true),
    })
    .prefault({}),
  rms_norm: flag(true),
  pad_vocab_size_multiple: size.default(8),
  tie_embeddings: flag(true),
});
type Config = z.output<typeof schema>;

/** Keys of ssm_cfg and attn_cfg that belong to the initialisation, or to the choice of kernels. */
const settled = new Set(
  "dt_min dt_max dt_init dt_init_floor dt_scale A_init_range conv_init use_fast_path use_mem_eff_path chunk_size mimo_rank fuse_pregate_headwise_norm dropout sequence_parallel process_group".split(
    " ",
  ),
);

/** What the modules would refuse, or some edition of them knows and this one does not, must not pass in silence. */
function expectKnown(file: PublishedConfig, part: "ssm_cfg" | "attn_cfg"): void {
  const known = schema.shape[part].unwrap().shape;
  const given = (file.values[part] ?? {}) as Record<string, unknown>;
  const stray = Object.keys(given).find((key) => !Object.hasOwn(known, key) && !settled.has(key));
  if (stray !== undefined) throw unsupported(file.path, `${part}.${stray}`, "no such key", given[stray]);
}

/** Checkpoints with the names and the config of state-spaces/mamba itself (no model_type): Mamba-1 to Mamba-3, attention, gated MLPs. */
export const mambaSsmFamily: Family = {
  name: "mamba_ssm",
  matches: ({ values }) => values.model_type === undefined && "d_model" in values && "n_layer" in values,
  describe(file, options) {
    const config = parseConfig(schema, file);
    expectKnown(file, "ssm_cfg");
    expectKnown(file, "attn_cfg");
    if (!config.rms_norm) throw unsupported(file.path, "rms_norm", "true", false);
    const attending = new Set(config.attn_layer_idx);
    const blocks = Array.from({ length: config.n_layer }, (_, i): Block[] => {
      const layer = `backbone.layers.${i}`;
      const mixer = attending.has(i) ? attentionBlock(config, file, layer) : mambaBlock(config, file, layer);
      return config.d_intermediate > 0 ? [mixer, mlpBlock(config, layer)] : [mixer];
    }).flat();
    const multiple = config.pad_vocab_size_multiple;
    const shell = shellOf(
      {
        vocab_size: Math.ceil(config.vocab_size / multiple) * multiple,
        hidden_size: config.d_model,
        tie_word_embeddings: config.tie_embeddings,
        eos_token_id: undefined,
      },
      { embedding: "backbone.embedding.weight", finalNorm: "backbone.norm_f.weight" },
      options,
    );
    return {
      family: "mamba_ssm",
      ...shell,
      blocks,
      normEps: EPS,
      contextTokens: attending.size > 0 ? options.contextTokens : undefined,
    };
  },
};

const shellFor = (config: Config) => ({ width: config.d_model, layerCount: config.n_layer });

function mambaBlock(config: Config, file: PublishedConfig, layer: string): Block {
  const { ssm_cfg: ssm, d_model: width } = config;
  if (ssm.layer === "Mamba1") return mamba1Block(config, layer);
  if (ssm.layer === "Mamba3") return mamba3Block(config, file, layer);
  if (ssm.layer !== "Mamba2") throw unsupported(file.path, "ssm_cfg.layer", "Mamba1, Mamba2 or Mamba3", ssm.layer);
  const inner = ssm.expand * width;
  if (ssm.d_ssm && ssm.d_ssm !== inner) throw unsupported(file.path, "ssm_cfg.d_ssm", `${inner}`, ssm.d_ssm);
  return layerBlock({
    prefix: `${layer}.mixer`,
    norm: `${layer}.norm.weight`,
    eps: EPS,
    kind: mamba2,
    shell: shellFor(config),
    options: {
      stateSize: ssm.d_state ?? 128,
      convWidth: ssm.d_conv,
      innerWidth: inner,
      headDim: ssm.headdim,
      groups: ssm.ngroups,
      norm: ssm.rmsnorm ? "gated" : "none",
      normBeforeGate: ssm.norm_before_gate,
      channelD: ssm.D_has_hdim,
      convBias: ssm.conv_bias,
      bias: ssm.bias,
      ...ssm.dt_limit,
    },
    sources: (name) => `${layer}.mixer.${name}`,
  });
}

function mamba1Block(config: Config, layer: string): Block {
  const { ssm_cfg: ssm, d_model: width } = config;
  return layerBlock({
    prefix: `${layer}.mixer`,
    norm: `${layer}.norm.weight`,
    eps: EPS,
    kind: mamba1,
    shell: shellFor(config),
    options: {
      stateSize: ssm.d_state ?? 16,
      convWidth: ssm.d_conv,
      innerWidth: Math.trunc(ssm.expand * width),
      dtRank: ssm.dt_rank,
      convBias: ssm.conv_bias,
      bias: ssm.bias,
    },
    sources: (name) => `${layer}.mixer.${name}`,
  });
}

function mamba3Block(config: Config, file: PublishedConfig, layer: string): Block {
  const { ssm_cfg: ssm, d_model: width } = config;
  if (ssm.is_mimo) throw unsupported(file.path, "ssm_cfg.is_mimo", "false", true);
  return layerBlock({
    prefix: `${layer}.mixer`,
    norm: `${layer}.norm.weight`,
    eps: EPS,
    kind: mamba3,
    shell: shellFor(config),
    options: {
      stateSize: ssm.d_state ?? 128,
      innerWidth: ssm.expand * width,
      headDim: ssm.headdim,
      groups: ssm.ngroups,
      ropeFraction: ssm.rope_fraction,
      aActivation: ssm.a_activation === "softplus" ? "softplus" : "heavyTail",
      aFloor: ssm.A_floor,
      outNorm: ssm.is_outproj_norm,
    },
    sources: (name) => `${layer}.mixer.${name}`,
  });
}

function attentionBlock(config: Config, file: PublishedConfig, layer: string): Block {
  const { attn_cfg: attn, d_model: width } = config;
  const heads = attn.num_heads;
  if (!heads) throw unsupported(file.path, "attn_cfg.num_heads", "the number of heads", heads);
  if (attn.rotary_emb_interleaved) throw unsupported(file.path, "attn_cfg.rotary_emb_interleaved", "false", true);
  if (attn.mlp_dim > 0) throw unsupported(file.path, "attn_cfg.mlp_dim", "0", attn.mlp_dim);
  // mamba_ssm looks ahead unless it is told not to, even in a language model.
  if (!attn.causal) throw unsupported(file.path, "attn_cfg.causal", "true", attn.causal);
  if (attn.rotary_emb_dim % 2 !== 0)
    throw unsupported(file.path, "attn_cfg.rotary_emb_dim", "an even number", attn.rotary_emb_dim);
  const headDim = attn.head_dim ?? width / heads;
  return layerBlock({
    prefix: `${layer}.mixer`,
    norm: `${layer}.norm.weight`,
    eps: EPS,
    kind: attention,
    shell: shellFor(config),
    options: {
      heads,
      keyHeads: attn.num_heads_kv ?? heads,
      headDim,
      window: "full",
      sinks: 0,
      rotaryFraction: attn.rotary_emb_dim / headDim,
      rotaryBase: attn.rotary_emb_base,
      convWidth: attn.d_conv,
      bias: attn.qkv_proj_bias,
      outBias: attn.out_proj_bias,
      ...(attn.softmax_scale && { scale: attn.softmax_scale }),
    },
    sources: (name) => `${layer}.mixer.${name}`,
  });
}

function mlpBlock(config: Config, layer: string): Block {
  // Rounded up to 128, as its GatedMLP does.
  const hidden = Math.ceil(config.d_intermediate / 128) * 128;
  return layerBlock({
    prefix: `${layer}.mlp`,
    norm: `${layer}.norm2.weight`,
    eps: EPS,
    kind: gatedMlp,
    shell: shellFor(config),
    options: { hidden },
    // fc1 holds the rows of what is gated, then those of the gate.
    sources: (name, { shape }) =>
      name === "down.weight"
        ? `${layer}.mlp.fc2.weight`
        : [
            { tensor: `${layer}.mlp.fc1.weight`, shape, rows: [hidden, 2 * hidden] },
            { tensor: `${layer}.mlp.fc1.weight`, shape, rows: [0, hidden] },
          ],
  });
}
