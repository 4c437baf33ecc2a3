import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TensorToWrite, writeSafetensors } from "@krait/formats";
import { describeModel, tensorsOf } from "../src/index.js";

const width = { hidden_size: 48, vocab_size: 96 };
const attends = { num_attention_heads: 4, num_key_value_heads: 2 };
const heads = { mamba_n_heads: 6, mamba_d_head: 16, mamba_n_groups: 2, mamba_d_state: 20, mamba_expand: 2 };
const rope = { rope_parameters: { rope_theta: 10000, rope_type: "default" } };
const native = { d_model: 48, vocab_size: 90, tie_embeddings: true };

/** A small config of every causal family, and of the variants whose tensors differ. */
export const familyConfigs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  mamba: { model_type: "mamba", ...width, num_hidden_layers: 2, state_size: 12, time_step_rank: 5, use_bias: true },
  falcon_mamba: { model_type: "falcon_mamba", ...width, num_hidden_layers: 2, state_size: 12, time_step_rank: 5 },
  mamba2: {
    model_type: "mamba2",
    ...width,
    num_hidden_layers: 2,
    state_size: 20,
    num_heads: 6,
    head_dim: 16,
    n_groups: 2,
    conv_kernel: 4,
    expand: 2,
  },
  bamba: {
    model_type: "bamba",
    ...width,
    ...attends,
    ...heads,
    ...rope,
    num_hidden_layers: 3,
    attn_layer_indices: [1],
    intermediate_size: 72,
    partial_rotary_factor: 0.5,
  },
  granite_dense: {
    model_type: "granitemoehybrid",
    ...width,
    ...attends,
    ...heads,
    ...rope,
    num_hidden_layers: 2,
    layer_types: ["mamba", "attention"],
    shared_intermediate_size: 72,
    position_embedding_type: "rope",
    residual_multiplier: 0.6,
    logits_scaling: 2,
  },
  granite_moe: {
    model_type: "granitemoehybrid",
    ...width,
    ...attends,
    ...heads,
    num_hidden_layers: 2,
    layer_types: ["mamba", "attention"],
    intermediate_size: 40,
    shared_intermediate_size: 72,
    num_local_experts: 5,
    num_experts_per_tok: 2,
  },
  falcon_h1: {
    model_type: "falcon_h1",
    ...width,
    ...attends,
    ...heads,
    ...rope,
    head_dim: 12,
    mamba_d_ssm: 96,
    num_hidden_layers: 2,
    intermediate_size: 72,
    ssm_multipliers: [0.5, 0.8, 1.1, 1.2, 0.9],
  },
  nemotron_h: {
    model_type: "nemotron_h",
    ...width,
    ...attends,
    head_dim: 12,
    hybrid_override_pattern: "M-*EM",
    mamba_num_heads: 6,
    mamba_head_dim: 16,
    n_groups: 2,
    ssm_state_size: 20,
    intermediate_size: 72,
    n_routed_experts: 6,
    num_experts_per_tok: 2,
    moe_intermediate_size: 40,
    moe_shared_expert_intermediate_size: 56,
  },
  jamba: {
    model_type: "jamba",
    ...width,
    ...attends,
    num_hidden_layers: 4,
    attn_layer_period: 2,
    attn_layer_offset: 1,
    num_experts: 4,
    num_experts_per_tok: 2,
    intermediate_size: 72,
    mamba_d_state: 12,
    mamba_dt_rank: 5,
  },
  zamba2: {
    model_type: "zamba2",
    ...width,
    num_hidden_layers: 4,
    layers_block_type: ["mamba", "hybrid", "mamba", "hybrid"],
    num_mem_blocks: 1,
    num_attention_heads: 4,
    attention_head_dim: 24,
    intermediate_size: 72,
    mamba_d_state: 20,
    mamba_ngroups: 2,
    n_mamba_heads: 6,
    adapter_rank: 4,
    use_mem_rope: true,
    use_shared_attention_adapter: true,
  },
  mamba_ssm_1: { ...native, n_layer: 2, ssm_cfg: { layer: "Mamba1", d_state: 12 } },
  mamba_ssm_2: {
    ...native,
    n_layer: 3,
    ssm_cfg: { layer: "Mamba2", d_state: 20, headdim: 16 },
    attn_layer_idx: [1],
    attn_cfg: { causal: true, num_heads: 4, num_heads_kv: 2, rotary_emb_dim: 6, d_conv: 4 },
    d_intermediate: 100,
  },
  mamba_ssm_3: { ...native, n_layer: 2, ssm_cfg: { layer: "Mamba3", d_state: 16, headdim: 16 } },
};

export type Tensors = Record<string, TensorToWrite>;

/** Tensors as the family's checkpoints hold them, drawn so that activations stay near one. */
export function familyTensors(config: Readonly<Record<string, unknown>>, random: () => number): Tensors {
  const description = describeModel({ path: "config.json", values: config }, { names: new Set(), contextTokens: 64 });
  const tensors: Tensors = {};
  for (const { dtype, parts } of tensorsOf(description)) {
    for (const { tensor, shape } of parts) {
      const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 2 * random() - 1);
      const scale = Math.sqrt(3 / (shape.length > 1 ? shape.at(-1)! : 100));
      // Vectors that are kept in float32 are norms, biases, decays: around one they are all in their range.
      const ownShape = (x: number) => (/norm|(^|\.)D$/.test(tensor) ? 1 + 0.2 * x : 0.5 * x);
      const near = dtype === "f32" ? ownShape : (x: number) => scale * x;
      tensors[tensor] ??= { dtype: "f32", shape, data: data.map(near) };
    }
  }
  return tensors;
}

/** Writes a folder as `save_pretrained` would. */
export async function saveFamily(folder: string, config: object, tensors: Tensors): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  return folder;
}
