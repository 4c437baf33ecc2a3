import { mamba1, mamba2 } from "./mixers.js";
import { type Config, count, type Layer, type ReferenceModel, told, toldOr } from "./model.js";
import { add, beside, causalConv, columns, linear, rmsNorm } from "./rows.js";
import { attend, halves } from "./transformer.js";

const UNBOUNDED: readonly [number, number] = [0, Number.POSITIVE_INFINITY];

const shell = (config: Config, tied: boolean): Omit<ReferenceModel, "layers"> => ({
  width: config.hidden_size as number,
  vocabulary: config.vocab_size as number,
  embedding: "backbone.embeddings.weight",
  finalNorm: "backbone.norm_f.weight",
  eps: told(config, "layer_norm_epsilon", 1e-5),
  tied: told(config, "tie_word_embeddings", tied),
});

/** mamba and falcon_mamba. */
export function mambaModel(config: Config): ReferenceModel {
  const base = shell(config, true);
  const rank = told<number | "auto">(config, "time_step_rank", "auto");
  const falcon = config.model_type === "falcon_mamba";
  const layers = count(told(config, "num_hidden_layers", 32)).map(
    (i): Layer =>
      (take, stream) => {
        const layer = `backbone.layers.${i}`;
        const x = rmsNorm(stream, take(`${layer}.norm.weight`, base.width), base.eps);
        const mixed = mamba1(take, x, {
          prefix: `${layer}.mixer`,
          inner: Math.trunc(told(config, "expand", 2) * base.width),
          states: told(config, "state_size", 16),
          conv: told(config, "conv_kernel", 4),
          rank: rank === "auto" ? Math.ceil(base.width / 16) : rank,
          convBias: told(config, "use_conv_bias", true),
          bias: told(config, "use_bias", false),
          ...(falcon && { norms: { eps: told(config, "mixer_rms_eps", 1e-6) } }),
        });
        return add(stream, mixed);
      },
  );
  return { ...base, layers };
}

export function mamba2Model(config: Config): ReferenceModel {
  const base = shell(config, false);
  const layers = count(told(config, "num_hidden_layers", 64)).map(
    (i): Layer =>
      (take, stream) => {
        const layer = `backbone.layers.${i}`;
        const x = rmsNorm(stream, take(`${layer}.norm.weight`, base.width), base.eps);
        const mixed = mamba2(take, x, {
          prefix: `${layer}.mixer`,
          heads: told(config, "num_heads", 128),
          headDim: told(config, "head_dim", 64),
          groups: told(config, "n_groups", 8),
          states: told(config, "state_size", 128),
          conv: told(config, "conv_kernel", 4),
          convBias: told(config, "use_conv_bias", true),
          inBias: told(config, "use_bias", false),
          outBias: told(config, "use_bias", false),
          limit: told(config, "time_step_limit", UNBOUNDED),
          norm: { eps: base.eps, groups: 1 },
        });
        return add(stream, mixed);
      },
  );
  return { ...base, layers };
}

/** Configs of state-spaces/mamba itself: Mamba-1 or Mamba-2, attention, gated MLPs. */
export function mambaSsmModel(config: Config): ReferenceModel {
  const width = config.d_model as number;
  const multiple = told(config, "pad_vocab_size_multiple", 8);
  const ssm = told<Config>(config, "ssm_cfg", {});
  const attn = told<Config>(config, "attn_cfg", {});
  const attending = new Set(told<number[]>(config, "attn_layer_idx", []));
  const hidden = Math.ceil(told(config, "d_intermediate", 0) / 128) * 128;
  const layers = count(config.n_layer as number).flatMap((i): Layer[] => {
    const layer = `backbone.layers.${i}`;
    const mixer: Layer = (take, stream) => {
      const x = rmsNorm(stream, take(`${layer}.norm.weight`, width), 1e-5);
      const mix = attending.has(i) ? nativeAttention : nativeMamba;
      return add(stream, mix(take, x, `${layer}.mixer`));
    };
    const mlp: Layer = (take, stream) => {
      const x = rmsNorm(stream, take(`${layer}.norm2.weight`, width), 1e-5);
      const both = linear(x, take(`${layer}.mlp.fc1.weight`, 2 * hidden, width));
      // The second half is the gate.
      const turned = beside(columns(both, hidden, 2 * hidden), columns(both, 0, hidden));
      return add(stream, linear(halves(turned, "silu"), take(`${layer}.mlp.fc2.weight`, width, hidden)));
    };
    return hidden > 0 ? [mixer, mlp] : [mixer];
  });

  const nativeMamba = (take: Parameters<Layer>[0], x: Parameters<Layer>[1], prefix: string) => {
    const inner = told(ssm, "expand", 2) * width;
    const bias = told(ssm, "bias", false);
    const common = { prefix, conv: told(ssm, "d_conv", 4), convBias: told(ssm, "conv_bias", true) };
    if (told(ssm, "layer", "Mamba1") === "Mamba1") {
      const rank = told<number | "auto">(ssm, "dt_rank", "auto");
      return mamba1(take, x, {
        ...common,
        inner: Math.trunc(inner),
        states: told(ssm, "d_state", 16),
        rank: rank === "auto" ? Math.ceil(width / 16) : rank,
        bias,
      });
    }
    const headDim = told(ssm, "headdim", 64);
    const groups = told(ssm, "ngroups", 1);
    return mamba2(take, x, {
      ...common,
      heads: inner / headDim,
      headDim,
      groups,
      states: told(ssm, "d_state", 128),
      inBias: bias,
      outBias: bias,
      limit: told(ssm, "dt_limit", UNBOUNDED),
      channelD: told(ssm, "D_has_hdim", false),
      ...(told(ssm, "rmsnorm", true) && {
        norm: { eps: 1e-5, groups, beforeGate: told(ssm, "norm_before_gate", false) },
      }),
    });
  };

  const nativeAttention = (take: Parameters<Layer>[0], x: Parameters<Layer>[1], prefix: string) => {
    const heads = attn.num_heads as number;
    const keyHeads = toldOr(attn, "num_heads_kv", heads);
    const headDim = toldOr(attn, "head_dim", width / heads);
    const conv = told(attn, "d_conv", 0);
    const base = told(attn, "rotary_emb_base", 10000);
    const dims = told(attn, "rotary_emb_dim", 0);
    const [q, kv] = [heads * headDim, keyHeads * headDim];
    const total = q + 2 * kv;
    const inBias = told(attn, "qkv_proj_bias", true) ? take(`${prefix}.in_proj.bias`, total) : undefined;
    let qkv = linear(x, take(`${prefix}.in_proj.weight`, total, width), inBias);
    if (conv > 0) {
      const weight = take(`${prefix}.conv1d.weight`, total, 1, conv);
      qkv = causalConv(qkv, weight, conv, take(`${prefix}.conv1d.bias`, total));
    }
    const mixed = attend(columns(qkv, 0, q), columns(qkv, q, q + kv), columns(qkv, q + kv, total), {
      heads,
      keyHeads,
      headDim,
      scale: toldOr(attn, "softmax_scale", headDim ** -0.5),
      rope: dims > 0 ? { dims, base } : undefined,
    });
    const outBias = told(attn, "out_proj_bias", true) ? take(`${prefix}.out_proj.bias`, width) : undefined;
    return linear(mixed, take(`${prefix}.out_proj.weight`, width, q), outBias);
  };

  return {
    width,
    vocabulary: Math.ceil((config.vocab_size as number) / multiple) * multiple,
    embedding: "backbone.embedding.weight",
    finalNorm: "backbone.norm_f.weight",
    eps: 1e-5,
    tied: told(config, "tie_embeddings", true),
    layers,
  };
}
