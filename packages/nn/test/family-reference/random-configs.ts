import type { Config } from "./model.js";

/** Draws from a seeded generator. */
export class Draw {
  constructor(readonly random: () => number) {}

  /** A whole number of [from, to]. */
  int(from: number, to: number): number {
    return from + Math.floor(this.random() * (to - from + 1));
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(0, choices.length - 1)]!;
  }

  chance(share = 0.5): boolean {
    return this.random() < share;
  }

  real(from: number, to: number): number {
    return Number((from + this.random() * (to - from)).toPrecision(3));
  }

  /** The keys with drawn values, each left out now and then: then the published default counts. */
  some(fields: Record<string, () => unknown>, share = 0.6): Record<string, unknown> {
    return Object.fromEntries(
      Object.entries(fields)
        .filter(() => this.chance(share))
        .map(([key, value]) => [key, value()]),
    );
  }
}

const shell = (d: Draw) => ({
  vocab_size: d.pick([61, 96, 131]),
  ...d.some({ tie_word_embeddings: () => d.chance() }),
});
const eps = (d: Draw) => () => d.pick([1e-6, 1e-5, 1e-3, 0.05]);
const act = (d: Draw) => () => d.pick(["silu", "swish"]);
/** Both ways in which bounds of Δ are published. */
const limit = (d: Draw) => () =>
  d.pick([
    [0, 1e9],
    [0.02, 0.3],
    [0.1, 0.6],
  ]);

/** heads, keyHeads and a head width; an absent `num_key_value_heads` means 8 in most families. */
function attention(d: Draw, step: number, { absent = 8 as number | undefined, bias = true } = {}) {
  const headDim = step * d.int(1, 4);
  const leaves = d.chance(0.25);
  const heads = leaves && absent ? absent * d.int(1, 2) : d.pick([1, 2, 3, 4, 6]);
  const keyHeads = d.pick([1, 2, 3, 4, 6].filter((k) => heads % k === 0));
  return {
    num_attention_heads: heads,
    head_dim: headDim,
    ...(!leaves && { num_key_value_heads: d.chance(0.2) ? null : keyHeads }),
    ...(bias && d.some({ attention_bias: () => d.chance() })),
  };
}

const rope = (d: Draw) =>
  d.pick([
    { rope_theta: d.real(100, 1e6) },
    { rope_parameters: { rope_theta: d.real(100, 1e6), rope_type: "default" } },
    { rope_theta: 10000, rope_scaling: null },
  ]);

/** mamba_*: heads of mamba_d_head that make up `inner`, which is expand · hidden unless the family has its own width. */
function mambaHeads(d: Draw) {
  const groups = d.pick([1, 1, 2, 3]);
  const heads = groups * d.int(1, 4);
  const headDim = d.pick([2, 4, 6, 8, 12]);
  const inner = heads * headDim;
  return {
    inner,
    fields: {
      mamba_n_heads: heads,
      ...d.some({ mamba_d_head: () => headDim }),
      ...(groups > 1 || d.chance() ? { mamba_n_groups: groups } : {}),
      mamba_d_state: d.pick([1, 5, 8, 16, 24, 33]),
      ...d.some({
        mamba_d_conv: () => d.int(2, 4),
        mamba_conv_bias: () => d.chance(),
        mamba_proj_bias: () => d.chance(),
        mamba_chunk_size: () => d.pick([7, 16, 256]),
        time_step_limit: limit(d),
      }),
    },
  };
}

/** hidden_size and mamba_expand of an inner width: 2 is the default. */
function expanded(d: Draw, inner: number) {
  const expand = d.pick([1, 2, 3].filter((e) => inner % e === 0 && inner / e >= 8 && inner / e <= 64));
  if (expand === undefined) return undefined;
  return { hidden_size: inner / expand, ...(expand !== 2 || d.chance() ? { mamba_expand: expand } : {}) };
}

/** Draws until the sizes fit together. */
function fitting<T>(draw: () => T | undefined): T {
  for (;;) {
    const found = draw();
    if (found !== undefined) return found;
  }
}

const mamba =
  (model_type: string) =>
  (d: Draw): Config => ({
    model_type,
    ...shell(d),
    hidden_size: d.int(7, 48),
    num_hidden_layers: d.int(1, 3),
    ...d.some({
      state_size: () => d.pick([1, 3, 8, 13, 24]),
      conv_kernel: () => d.int(2, 4),
      expand: () => d.pick([1, 2, 3, 1.5]),
      time_step_rank: () => d.pick(["auto", 1, 5, 9]),
      layer_norm_epsilon: eps(d),
      use_bias: () => d.chance(),
      use_conv_bias: () => d.chance(),
      hidden_act: act(d),
      residual_in_fp32: () => d.chance(),
      ...(model_type === "falcon_mamba" && { mixer_rms_eps: eps(d) }),
    }),
  });

function mamba2(d: Draw): Config {
  const sizes = fitting(() => {
    const groups = d.chance(0.2) ? undefined : d.pick([1, 2, 3, 4]);
    const heads = (groups ?? 8) * d.int(1, groups ? 4 : 1);
    const headDim = d.pick([1, 3, 4, 6, 8, 12, 20]);
    const expand = d.pick([1, 2, 3]);
    const hidden = (heads * headDim) / expand;
    if (!Number.isInteger(hidden) || hidden < 7) return undefined;
    return {
      hidden_size: hidden,
      num_heads: heads,
      head_dim: headDim,
      ...(groups && { n_groups: groups }),
      ...(expand !== 2 || d.chance() ? { expand } : {}),
    };
  });
  return {
    model_type: "mamba2",
    ...shell(d),
    ...sizes,
    num_hidden_layers: d.int(1, 3),
    ...d.some({
      state_size: () => d.pick([1, 5, 8, 16, 24, 33]),
      conv_kernel: () => d.int(2, 4),
      layer_norm_epsilon: eps(d),
      time_step_limit: limit(d),
      use_bias: () => d.chance(),
      use_conv_bias: () => d.chance(),
      chunk_size: () => d.pick([5, 16, 256]),
      hidden_act: act(d),
      rms_norm: () => d.chance(),
    }),
  };
}

function bamba(d: Draw): Config {
  const { inner, fields } = mambaHeads(d);
  const widths = expanded(d, inner);
  if (!widths) return bamba(d);
  const layers = d.int(1, 4);
  return {
    model_type: "bamba",
    ...shell(d),
    ...widths,
    ...fields,
    // Half of each head is turned.
    ...attention(d, 4),
    ...rope(d),
    num_hidden_layers: layers,
    ...d.some({ attn_layer_indices: () => [...Array(layers).keys()].filter(() => d.chance()) }, 0.8),
    intermediate_size: d.int(9, 60),
    ...d.some({ mlp_bias: () => d.chance(), rms_norm_eps: eps(d), hidden_act: act(d) }),
  };
}

function granite(d: Draw): Config {
  const { inner, fields } = mambaHeads(d);
  const widths = expanded(d, inner);
  if (!widths) return granite(d);
  const { head_dim: headDim, ...attends } = attention(d, 2, { absent: undefined });
  const layers = d.int(1, 4);
  const names = d.pick([
    ["mamba", "attention"],
    ["linear_attention", "full_attention"],
  ]);
  const experts = d.chance(0.2) ? undefined : d.pick([0, 1, 3, 6]);
  return {
    model_type: "granitemoehybrid",
    ...shell(d),
    ...widths,
    ...fields,
    ...attends,
    head_dim: headDim,
    ...rope(d),
    num_hidden_layers: layers,
    ...d.some({ layer_types: () => Array.from({ length: layers }, () => d.pick(names)) }, 0.85),
    ...(experts !== undefined && { num_local_experts: experts }),
    ...(experts === undefined || experts > 1
      ? d.some({ num_experts_per_tok: () => d.int(1, 3) })
      : { num_experts_per_tok: experts }),
    intermediate_size: d.int(5, 30),
    shared_intermediate_size: d.int(5, 40),
    ...d.some({
      position_embedding_type: () => d.pick(["rope", null]),
      rms_norm_eps: eps(d),
      hidden_act: act(d),
      embedding_multiplier: () => d.real(0.5, 12),
      attention_multiplier: () => d.real(0.02, 1),
      residual_multiplier: () => d.real(0.1, 1.2),
      logits_scaling: () => d.real(0.5, 8),
    }),
  };
}

function falconH1(d: Draw): Config {
  const { inner, fields } = mambaHeads(d);
  const few = (n: number) => () => Array.from({ length: n }, () => d.real(0.3, 1.6));
  const factor = () => d.real(0.3, 1.6);
  return {
    model_type: "falcon_h1",
    ...shell(d),
    hidden_size: d.int(9, 40),
    ...fields,
    mamba_d_ssm: inner,
    ...attention(d, 2),
    ...rope(d),
    num_hidden_layers: d.int(1, 3),
    intermediate_size: d.int(9, 60),
    ...d.some({
      projectors_bias: () => d.chance(),
      mlp_bias: () => d.chance(),
      mamba_rms_norm: () => d.chance(0.7),
      mamba_norm_before_gate: () => d.chance(),
      rms_norm_eps: eps(d),
      hidden_act: act(d),
      embedding_multiplier: factor,
      lm_head_multiplier: factor,
      key_multiplier: factor,
      attention_in_multiplier: factor,
      attention_out_multiplier: factor,
      ssm_in_multiplier: factor,
      ssm_out_multiplier: () => (d.chance(0.2) ? null : factor()),
      ssm_multipliers: few(5),
      mlp_multipliers: few(2),
    }),
  };
}

function nemotron(d: Draw): Config {
  const layers = d.int(1, 6);
  const pattern = Array.from({ length: layers }, () => d.pick([..."MM*-EE"])).join("");
  const words = d.pick([
    { M: "mamba", "*": "attention", "-": "mlp", E: "moe" },
    { M: "linear_attention", "*": "full_attention", "-": "mlp", E: "moe" },
  ]) as Record<string, string>;
  const groups = d.chance(0.2) ? undefined : d.pick([1, 2, 3]);
  const routes = d.pick([
    { n_routed_experts: 6 },
    { n_routed_experts: 5, num_experts_per_tok: 3 },
    { n_routed_experts: 8, n_group: 4, topk_group: 2, num_experts_per_tok: 3 },
    { n_routed_experts: 9, n_group: 3, topk_group: 1, num_experts_per_tok: 2 },
    { num_experts_per_tok: 1 },
  ]);
  return {
    model_type: "nemotron_h",
    ...shell(d),
    hidden_size: d.int(9, 40),
    ...(d.chance(0.3)
      ? { hybrid_override_pattern: pattern }
      : { layers_block_type: [...pattern].map((letter) => words[letter]!) }),
    ...attention(d, 3, { bias: false }),
    mamba_num_heads: (groups ?? 8) * d.int(1, groups ? 4 : 1),
    mamba_head_dim: d.pick([1, 3, 4, 6, 8, 12]),
    ...(groups && { n_groups: groups }),
    ssm_state_size: d.pick([1, 5, 8, 16, 33]),
    intermediate_size: d.int(5, 50),
    moe_intermediate_size: d.int(3, 20),
    moe_shared_expert_intermediate_size: d.int(3, 30),
    ...routes,
    ...d.some({
      conv_kernel: () => d.int(2, 4),
      use_bias: () => d.chance(),
      use_conv_bias: () => d.chance(),
      mlp_bias: () => d.chance(),
      mlp_hidden_act: () => d.pick(["relu2", "silu", "gelu"]),
      mamba_hidden_act: act(d),
      layer_norm_epsilon: eps(d),
      time_step_limit: limit(d),
      norm_topk_prob: () => d.chance(),
      routed_scaling_factor: () => d.real(0.5, 2.5),
    }),
  };
}

function jamba(d: Draw): Config {
  const [attends, mixes] = [d.int(1, 4), d.int(1, 3)];
  return {
    model_type: "jamba",
    ...shell(d),
    hidden_size: d.int(9, 40),
    num_hidden_layers: d.int(1, 5),
    attn_layer_period: attends,
    attn_layer_offset: d.int(0, attends - 1),
    ...(d.chance(0.7) && { expert_layer_period: mixes, expert_layer_offset: d.int(0, mixes - 1) }),
    ...attention(d, 3, { bias: false }),
    ...d.pick([{}, { num_experts: 1 }, { num_experts: 3, num_experts_per_tok: 1 }, { num_experts: 5 }]),
    ...d.some({ mamba_d_state: () => d.pick([1, 5, 8, 24]), mamba_d_conv: () => d.int(2, 4) }),
    ...d.some({
      mamba_expand: () => d.int(1, 3),
      mamba_dt_rank: () => d.pick(["auto", 1, 7]),
      mamba_conv_bias: () => d.chance(),
      mamba_proj_bias: () => d.chance(),
      rms_norm_eps: eps(d),
      hidden_act: act(d),
    }),
    intermediate_size: d.int(5, 40),
  };
}

function zamba2(d: Draw): Config {
  const { inner, fields } = mambaHeads(d);
  const widths = expanded(d, inner);
  const heads = d.pick([1, 2, 3, 4]);
  if (!widths || (2 * widths.hidden_size) % (2 * heads) !== 0) return zamba2(d);
  const layers = d.int(1, 7);
  const words = d.pick([
    ["mamba", "hybrid"],
    ["linear_attention", "hybrid"],
  ]);
  const adapts = d.chance();
  const keyHeads = d.pick([1, 2, 3].filter((k) => heads % k === 0));
  return {
    model_type: "zamba2",
    ...shell(d),
    ...widths,
    n_mamba_heads: fields.mamba_n_heads,
    mamba_ngroups: fields.mamba_n_groups ?? 1,
    mamba_d_state: fields.mamba_d_state,
    num_hidden_layers: layers,
    layers_block_type: Array.from({ length: layers }, () => d.pick(words)),
    num_attention_heads: heads,
    // The adapters of keys are as wide as those of queries.
    ...(!adapts && d.some({ num_key_value_heads: () => keyHeads })),
    ...(adapts && { use_shared_attention_adapter: true }),
    adapter_rank: d.int(1, 6),
    ...rope(d),
    ...d.some({
      num_mem_blocks: () => d.int(1, 3),
      mamba_d_conv: () => d.int(2, 4),
      intermediate_size: () => d.int(5, 50),
      use_mem_rope: () => d.chance(),
      add_bias_linear: () => d.chance(),
      use_conv_bias: () => d.chance(),
      hidden_act: () => d.pick(["gelu", "silu", "gelu_new"]),
      rms_norm_eps: eps(d),
      chunk_size: () => d.pick([7, 256]),
    }),
  };
}

function native(d: Draw): Config {
  const layers = d.int(1, 4);
  const second = d.chance(0.6);
  const groups = d.pick([1, 2]);
  const headDim = d.pick([2, 4, 6, 8]);
  const width = groups * headDim * d.int(1, 3) * (groups * headDim < 8 ? 4 : 1);
  const heads = d.pick([1, 2, 3, 4]);
  const attnDim = d.int(1, 5) * 2;
  return {
    d_model: width,
    n_layer: layers,
    vocab_size: d.pick([61, 90, 131]),
    ssm_cfg: {
      ...(second ? { layer: "Mamba2", headdim: headDim, ngroups: groups } : d.some({ layer: () => "Mamba1" })),
      ...d.some({
        d_state: () => d.pick([1, 5, 8, 24]),
        d_conv: () => d.int(2, 4),
        expand: () => d.pick([1, 2, 3]),
        bias: () => d.chance(),
        conv_bias: () => d.chance(),
        ...(second
          ? {
              D_has_hdim: () => d.chance(),
              rmsnorm: () => d.chance(),
              norm_before_gate: () => d.chance(),
              dt_limit: limit(d),
              chunk_size: () => 256,
            }
          : { dt_rank: () => d.pick(["auto", 1, 7]) }),
      }),
    },
    attn_layer_idx: [...Array(layers).keys()].filter(() => d.chance(0.4)),
    attn_cfg: {
      causal: true,
      num_heads: heads,
      head_dim: attnDim,
      ...d.some({
        num_heads_kv: () => d.pick([1, 2, 3].filter((k) => heads % k === 0)),
        d_conv: () => d.int(0, 4),
        rotary_emb_dim: () => 2 * d.int(0, attnDim / 2),
        rotary_emb_base: () => d.real(100, 1e5),
        softmax_scale: () => d.real(0.1, 1),
        qkv_proj_bias: () => d.chance(),
        out_proj_bias: () => d.chance(),
      }),
    },
    ...d.some({
      d_intermediate: () => d.pick([0, 40, 130]),
      pad_vocab_size_multiple: () => d.pick([1, 8, 16]),
      tie_embeddings: () => d.chance(),
      rms_norm: () => true,
      residual_in_fp32: () => d.chance(),
      fused_add_norm: () => d.chance(),
    }),
  };
}

/** A config of each family, drawn anew with every call. */
export const randomConfigs: Readonly<Record<string, (draw: Draw) => Config>> = {
  mamba: mamba("mamba"),
  falcon_mamba: mamba("falcon_mamba"),
  mamba2,
  bamba,
  granitemoehybrid: granite,
  falcon_h1: falconH1,
  nemotron_h: nemotron,
  jamba,
  zamba2,
  mamba_ssm: native,
};
