import { rope } from "./hybrid-families.js";
import { mamba2, type Take } from "./mixers.js";
import { type Config, type Layer, type ReferenceModel, told, toldOr, typesOf } from "./model.js";
import { activations, add, beside, linear, map, type Rows, rmsNorm } from "./rows.js";
import { attend, attention, halves, mixture } from "./transformer.js";

const UNBOUNDED: readonly [number, number] = [0, Number.POSITIVE_INFINITY];
const letters: Readonly<Record<string, string>> = { M: "mamba", "*": "attention", "-": "mlp", E: "moe" };

export function nemotronModel(config: Config, root = "backbone"): ReferenceModel {
  const width = config.hidden_size as number;
  const eps = told(config, "layer_norm_epsilon", 1e-5);
  const act = activations[told(config, "mlp_hidden_act", "relu2")]!;
  const mlpBias = told(config, "mlp_bias", false);
  const pattern = [...told(config, "hybrid_override_pattern", "")].map((letter) => letters[letter]!);
  const types = typesOf(toldOr(config, "layers_block_type", pattern));

  const mlp = (take: Take, x: Rows, prefix: string, hidden: number) => {
    const bias = (name: string, n: number) => (mlpBias ? take(`${prefix}.${name}.bias`, n) : undefined);
    const up = linear(x, take(`${prefix}.up_proj.weight`, hidden, width), bias("up_proj", hidden));
    return linear(map(up, act), take(`${prefix}.down_proj.weight`, width, hidden), bias("down_proj", width));
  };

  const mixers: Record<string, (take: Take, x: Rows, prefix: string, onMargin: (m: number) => void) => Rows> = {
    mamba(take, x, prefix) {
      const groups = told(config, "n_groups", 8);
      return mamba2(take, x, {
        prefix,
        heads: told(config, "mamba_num_heads", 128),
        headDim: told(config, "mamba_head_dim", 64),
        groups,
        states: told(config, "ssm_state_size", 128),
        conv: told(config, "conv_kernel", 4),
        convBias: told(config, "use_conv_bias", true),
        inBias: told(config, "use_bias", false),
        outBias: told(config, "use_bias", false),
        limit: told(config, "time_step_limit", UNBOUNDED),
        norm: { eps, groups },
      });
    },
    attention(take, x, prefix) {
      const heads = told(config, "num_attention_heads", 32);
      const headDim = told(config, "head_dim", 128);
      const kv = told<number | null>(config, "num_key_value_heads", 8) ?? heads;
      return attention(take, x, { prefix, heads, keyHeads: kv, headDim, scale: headDim ** -0.5, bias: false });
    },
    mlp: (take, x, prefix) => mlp(take, x, prefix, told(config, "intermediate_size", 21504)),
    moe(take, x, prefix, onMargin) {
      const experts = told(config, "n_routed_experts", 8);
      const hidden = told(config, "moe_intermediate_size", 7688);
      const logits = linear(x, take(`${prefix}.gate.weight`, experts, width));
      const expert = (row: Rows, e: number) => {
        const up = take(`${prefix}.experts.${e}.up_proj.weight`, hidden, width);
        return linear(map(linear(row, up), act), take(`${prefix}.experts.${e}.down_proj.weight`, width, hidden));
      };
      const routing = {
        topK: told(config, "num_experts_per_tok", 2),
        scoring: "sigmoid" as const,
        normalize: told(config, "norm_topk_prob", true),
        scale: told(config, "routed_scaling_factor", 1),
        correction: take(`${prefix}.gate.e_score_correction_bias`, experts),
        groups: told(config, "n_group", 1),
        keptGroups: told(config, "topk_group", 1),
      };
      const shared = told(config, "moe_shared_expert_intermediate_size", 7688);
      return add(mixture(x, logits, routing, expert, onMargin), mlp(take, x, `${prefix}.shared_experts`, shared));
    },
  };

  const layers = types.map(
    (type, i): Layer =>
      (take, stream, _, onMargin) => {
        const layer = `${root}.layers.${i}`;
        const x = rmsNorm(stream, take(`${layer}.norm.weight`, width), eps);
        return add(stream, mixers[type]!(take, x, `${layer}.mixer`, onMargin));
      },
  );
  return {
    width,
    vocabulary: config.vocab_size as number,
    embedding: `${root}.embeddings.weight`,
    finalNorm: `${root}.norm_f.weight`,
    eps,
    tied: told(config, "tie_word_embeddings", false),
    layers,
  };
}

export function zamba2Model(config: Config): ReferenceModel {
  const width = config.hidden_size as number;
  const eps = told(config, "rms_norm_eps", 1e-5);
  const types = typesOf(config.layers_block_type as string[]);
  const sharers = told(config, "num_mem_blocks", 1);
  const hybrids = [...types.keys()].filter((i) => types[i] === "hybrid");
  const bias = told(config, "add_bias_linear", false);
  const rank = told(config, "adapter_rank", 128);
  const adapts = told(config, "use_shared_attention_adapter", false);
  const hidden = toldOr(config, "intermediate_size", 4 * width);
  const heads = told(config, "num_attention_heads", 32);
  const keyHeads = toldOr(config, "num_key_value_heads", heads);
  const headDim = Math.trunc((2 * width) / heads);
  const inner = Math.trunc(told(config, "mamba_expand", 2) * width);
  const mambaHeads = told(config, "n_mamba_heads", 8);
  const groups = told(config, "mamba_ngroups", 1);

  const mamba = (take: Take, stream: Rows, extra: Rows | undefined, prefix: string) => {
    const x = rmsNorm(extra ? add(stream, extra) : stream, take(`${prefix}.input_layernorm.weight`, width), eps);
    const mixed = mamba2(take, x, {
      prefix: `${prefix}.mamba`,
      heads: mambaHeads,
      headDim: Math.trunc(inner / mambaHeads),
      groups,
      states: told(config, "mamba_d_state", 64),
      conv: told(config, "mamba_d_conv", 4),
      convBias: true,
      inBias: bias,
      outBias: bias,
      limit: UNBOUNDED,
      norm: { eps: 1e-5, groups },
    });
    return add(stream, mixed);
  };

  /** What the `use`-th hybrid layer's transformer makes of the stream beside the embedded tokens. */
  const shared = (take: Take, stream: Rows, embedded: Rows, use: number) => {
    const home = `model.layers.${hybrids[use % sharers]}.shared_transformer`;
    const project = (x: Rows, name: string, out: number, list?: string) => {
      const biased = bias && name.startsWith("feed_forward");
      const y = linear(
        x,
        take(`${home}.${name}.weight`, out, x.width),
        biased ? take(`${home}.${name}.bias`, out) : undefined,
      );
      if (!list) return y;
      const low = linear(x, take(`${home}.${list}.${use}.0.weight`, rank, x.width));
      return add(y, linear(low, take(`${home}.${list}.${use}.1.weight`, out, rank)));
    };
    const x = rmsNorm(beside(stream, embedded), take(`${home}.input_layernorm.weight`, 2 * width), eps);
    const [q, k, v] = (["q", "k", "v"] as const).map((p) => {
      const out = (p === "q" ? heads : keyHeads) * headDim;
      return project(x, `self_attn.${p}_proj`, out, adapts ? `self_attn.linear_${p}_adapter_list` : undefined);
    }) as [Rows, Rows, Rows];
    const mixed = attend(q, k, v, {
      heads,
      keyHeads,
      headDim,
      scale: (headDim / 2) ** -0.5,
      rope: told(config, "use_mem_rope", false) ? rope(config, headDim) : undefined,
    });
    const after = rmsNorm(
      project(mixed, "self_attn.o_proj", width),
      take(`${home}.pre_ff_layernorm.weight`, width),
      eps,
    );
    const both = project(after, "feed_forward.gate_up_proj", 2 * hidden, "feed_forward.gate_up_proj_adapter_list");
    return project(halves(both, told(config, "hidden_act", "gelu")), "feed_forward.down_proj", width);
  };

  const layers = types.map(
    (type, i): Layer =>
      (take, stream, embedded) => {
        const layer = `model.layers.${i}`;
        if (type === "mamba") return mamba(take, stream, undefined, layer);
        const mixed = shared(take, stream, embedded, hybrids.indexOf(i));
        const extra = linear(mixed, take(`${layer}.linear.weight`, width, width));
        return mamba(take, stream, extra, `${layer}.mamba_decoder`);
      },
  );
  return {
    width,
    vocabulary: config.vocab_size as number,
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.final_layernorm.weight",
    eps,
    tied: told(config, "tie_word_embeddings", true),
    layers,
  };
}
