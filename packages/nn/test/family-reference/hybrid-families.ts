import { mamba1, mamba2, type Take } from "./mixers.js";
import { type Config, count, type Layer, type ReferenceModel, told, toldOr, typesOf } from "./model.js";
import { add, linear, type Rows, rmsNorm, scaled } from "./rows.js";
import { type Attention, attention, gatedMlp, halves, mixture } from "./transformer.js";

const UNBOUNDED: readonly [number, number] = [0, Number.POSITIVE_INFINITY];

interface Rope {
  rope_theta?: number;
  partial_rotary_factor?: number;
}

export function rope(config: Config, headDim: number, fraction = 1) {
  const parameters = toldOr<Rope>(config, "rope_parameters", {});
  const share = parameters.partial_rotary_factor ?? toldOr(config, "partial_rotary_factor", fraction);
  return { dims: Math.trunc(headDim * share), base: parameters.rope_theta ?? toldOr(config, "rope_theta", 10000) };
}

type Shell = Omit<ReferenceModel, "layers">;

const shell = (config: Config, finalNorm: string, eps: number): Shell => ({
  width: config.hidden_size as number,
  vocabulary: config.vocab_size as number,
  embedding: "model.embed_tokens.weight",
  finalNorm,
  eps,
  tied: told(config, "tie_word_embeddings", false),
});

/** stream + factor · f(norm(stream)). */
const residual =
  (base: Shell, norm: string, f: (take: Take, x: Rows, onMargin: (m: number) => void) => Rows, factor = 1): Layer =>
  (take, stream, _, onMargin) =>
    add(stream, scaled(f(take, rmsNorm(stream, take(norm, base.width), base.eps), onMargin), factor));

/** Mamba-2 by the keys that bamba, granitemoehybrid and falcon_h1 share. */
function mambaOptions(config: Config, prefix: string, inner: number) {
  const heads = told(config, "mamba_n_heads", 128);
  const dim = told<number | "auto">(config, "mamba_d_head", "auto");
  const bias = told(config, "mamba_proj_bias", false);
  return {
    prefix,
    heads,
    headDim: dim === "auto" ? Math.trunc(inner / heads) : dim,
    groups: told(config, "mamba_n_groups", 1),
    states: told(config, "mamba_d_state", 256),
    conv: told(config, "mamba_d_conv", 4),
    convBias: told(config, "mamba_conv_bias", true),
    inBias: bias,
    outBias: bias,
    limit: told(config, "time_step_limit", UNBOUNDED),
  };
}

/** Attention by the keys that all families share; `keyHeads` is what a config without the key means. */
function attentionOptions(config: Config, prefix: string, keyHeads?: number): Attention {
  const heads = told(config, "num_attention_heads", 32);
  const headDim = toldOr(config, "head_dim", Math.trunc((config.hidden_size as number) / heads));
  const kv = "num_key_value_heads" in config ? (config.num_key_value_heads as number | null) : keyHeads;
  const bias = told(config, "attention_bias", false);
  return { prefix, heads, keyHeads: kv ?? heads, headDim, scale: headDim ** -0.5, bias };
}

export function bambaModel(config: Config): ReferenceModel {
  const base = shell(config, "model.final_layernorm.weight", told(config, "rms_norm_eps", 1e-5));
  const attending = new Set(toldOr<number[]>(config, "attn_layer_indices", []));
  const inner = told(config, "mamba_expand", 2) * base.width;
  const layers = count(told(config, "num_hidden_layers", 32)).flatMap((i) => {
    const layer = `model.layers.${i}`;
    const mixer = (take: Take, x: Rows) => {
      if (!attending.has(i)) {
        const norm = { eps: base.eps, groups: 1 };
        return mamba2(take, x, { ...mambaOptions(config, `${layer}.mamba`, inner), norm });
      }
      const options = attentionOptions(config, `${layer}.self_attn`, 8);
      return attention(take, x, { ...options, rope: rope(config, options.headDim, 0.5) });
    };
    const mlp = (take: Take, x: Rows) =>
      gatedMlp(take, x, {
        prefix: `${layer}.feed_forward`,
        hidden: told(config, "intermediate_size", 14336),
        activation: told(config, "hidden_act", "silu"),
        bias: told(config, "mlp_bias", false),
      });
    return [
      residual(base, `${layer}.input_layernorm.weight`, mixer),
      residual(base, `${layer}.pre_ff_layernorm.weight`, mlp),
    ];
  });
  return { ...base, layers };
}

export function graniteModel(config: Config): ReferenceModel {
  const base = shell(config, "model.norm.weight", told(config, "rms_norm_eps", 1e-6));
  const factor = told(config, "residual_multiplier", 1);
  const length = told(config, "num_hidden_layers", 32);
  const types = typesOf(toldOr(config, "layer_types", Array<string>(length).fill("mamba")));
  const inner = told(config, "mamba_expand", 2) * base.width;
  const experts = told<number>(config, "num_local_experts", 8);
  const act = told(config, "hidden_act", "silu");
  const layers = types.flatMap((type, i) => {
    const layer = `model.layers.${i}`;
    const mixer = (take: Take, x: Rows) => {
      if (type === "mamba") {
        const norm = { eps: base.eps, groups: 1 };
        return mamba2(take, x, { ...mambaOptions(config, `${layer}.mamba`, inner), norm });
      }
      const options = attentionOptions(config, `${layer}.self_attn`);
      const turns = told(config, "position_embedding_type", null) === "rope";
      return attention(take, x, {
        ...options,
        scale: told(config, "attention_multiplier", 1),
        rope: turns ? rope(config, options.headDim) : undefined,
      });
    };
    const fused = (take: Take, x: Rows, name: string, hidden: number) => {
      const both = linear(x, take(`${layer}.${name}.input_linear.weight`, 2 * hidden, base.width));
      return linear(halves(both, act), take(`${layer}.${name}.output_linear.weight`, base.width, hidden));
    };
    const feedForward = (take: Take, x: Rows, onMargin: (m: number) => void) => {
      const shared = fused(take, x, "shared_mlp", told(config, "shared_intermediate_size", 1024));
      if (experts === 0) return shared;
      const moe = `${layer}.block_sparse_moe`;
      const hidden = told(config, "intermediate_size", 11008);
      const up = take(`${moe}.input_linear.weight`, experts, 2 * hidden, base.width);
      const down = take(`${moe}.output_linear.weight`, experts, base.width, hidden);
      const logits = linear(x, take(`${moe}.router.layer.weight`, experts, base.width));
      const part = (all: Float64Array, e: number) =>
        all.subarray((e * all.length) / experts, ((e + 1) * all.length) / experts);
      const expert = (row: Rows, e: number) => linear(halves(linear(row, part(up, e)), act), part(down, e));
      const routing = { topK: told(config, "num_experts_per_tok", 2), scoring: "chosen" as const };
      return add(mixture(x, logits, routing, expert, onMargin), shared);
    };
    return [
      residual(base, `${layer}.input_layernorm.weight`, mixer, factor),
      residual(base, `${layer}.post_attention_layernorm.weight`, feedForward, factor),
    ];
  });
  return {
    ...base,
    embeddingScale: told(config, "embedding_multiplier", 1),
    logitsScale: 1 / told(config, "logits_scaling", 1),
    layers,
  };
}

export function falconH1Model(config: Config): ReferenceModel {
  const base = shell(config, "model.final_layernorm.weight", told(config, "rms_norm_eps", 1e-5));
  const one = (key: string) => toldOr(config, key, 1);
  const dSsm = "mamba_d_ssm" in config ? (config.mamba_d_ssm as number | null) : 1024;
  const inner = dSsm ?? told(config, "mamba_expand", 2) * base.width;
  const [gate, down] = toldOr(config, "mlp_multipliers", [1, 1]);
  const layers = count(told(config, "num_hidden_layers", 32)).flatMap((i) => {
    const layer = `model.layers.${i}`;
    const mixer = (take: Take, x: Rows) => {
      const options = mambaOptions(config, `${layer}.mamba`, inner);
      const gated = {
        eps: base.eps,
        groups: options.groups,
        beforeGate: told(config, "mamba_norm_before_gate", true),
      };
      const mamba = mamba2(take, scaled(x, one("ssm_in_multiplier")), {
        ...options,
        outBias: told(config, "projectors_bias", false),
        multipliers: toldOr(config, "ssm_multipliers", [1, 1, 1, 1, 1]),
        ...(told<boolean>(config, "mamba_rms_norm", false) && { norm: gated }),
      });
      const heads = attentionOptions(config, `${layer}.self_attn`, 8);
      const attended = attention(take, scaled(x, one("attention_in_multiplier")), {
        ...heads,
        rope: rope(config, heads.headDim),
        keyMultiplier: one("key_multiplier"),
      });
      return add(scaled(mamba, one("ssm_out_multiplier")), scaled(attended, one("attention_out_multiplier")));
    };
    const mlp = (take: Take, x: Rows) => {
      const y = gatedMlp(take, x, {
        prefix: `${layer}.feed_forward`,
        hidden: told(config, "intermediate_size", 14336),
        activation: told(config, "hidden_act", "silu"),
        bias: told(config, "mlp_bias", false),
        gateMultiplier: gate!,
      });
      return scaled(y, down!);
    };
    return [
      residual(base, `${layer}.input_layernorm.weight`, mixer),
      residual(base, `${layer}.pre_ff_layernorm.weight`, mlp),
    ];
  });
  return {
    ...base,
    embeddingScale: told(config, "embedding_multiplier", 1),
    logitsScale: told(config, "lm_head_multiplier", 1),
    layers,
  };
}

export function jambaModel(config: Config): ReferenceModel {
  const base = shell(config, "model.final_layernorm.weight", told(config, "rms_norm_eps", 1e-6));
  const period = (key: string, otherwise: number) => told(config, `${key}_period`, otherwise);
  const offset = (key: string, otherwise: number) => told(config, `${key}_offset`, otherwise);
  const rank = told<number | "auto">(config, "mamba_dt_rank", "auto");
  const experts = told<number>(config, "num_experts", 16);
  const activation = told(config, "hidden_act", "silu");
  const hidden = told(config, "intermediate_size", 14336);
  const layers = count(told(config, "num_hidden_layers", 32)).flatMap((i) => {
    const layer = `model.layers.${i}`;
    const mixer = (take: Take, x: Rows) => {
      if (i % period("attn_layer", 8) === offset("attn_layer", 4))
        return attention(take, x, attentionOptions(config, `${layer}.self_attn`, 8));
      return mamba1(take, x, {
        prefix: `${layer}.mamba`,
        inner: told(config, "mamba_expand", 2) * base.width,
        states: told(config, "mamba_d_state", 16),
        conv: told(config, "mamba_d_conv", 4),
        rank: rank === "auto" ? Math.ceil(base.width / 16) : rank,
        convBias: told(config, "mamba_conv_bias", true),
        bias: told(config, "mamba_proj_bias", false),
        norms: { eps: base.eps, names: ["dt_layernorm", "b_layernorm", "c_layernorm"] },
      });
    };
    const feedForward = (take: Take, x: Rows, onMargin: (m: number) => void) => {
      const mlp = (row: Rows, prefix: string) => gatedMlp(take, row, { prefix, hidden, activation, bias: false });
      const prefix = `${layer}.feed_forward`;
      if (i % period("expert_layer", 2) !== offset("expert_layer", 1) || experts === 1) return mlp(x, prefix);
      const logits = linear(x, take(`${prefix}.router.weight`, experts, base.width));
      const routing = { topK: told(config, "num_experts_per_tok", 2), scoring: "softmax" as const };
      return mixture(x, logits, routing, (row, e) => mlp(row, `${prefix}.experts.${e}`), onMargin);
    };
    return [
      residual(base, `${layer}.input_layernorm.weight`, mixer),
      residual(base, `${layer}.pre_ff_layernorm.weight`, feedForward),
    ];
  });
  return { ...base, layers };
}
