// Writes a GGUF file of random weights in the shape of mamba-130m or mamba2-130m, to time other runtimes on the same work.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import { closeSync, openSync, writeSync } from "node:fs";

const [U32, F32, BOOL, STRING, ARRAY, U64] = [4, 6, 7, 8, 9, 10];
const [TYPE_F32, TYPE_F16] = [0, 1];
const ALIGNMENT = 32;

const u32 = (n) => Buffer.from(Uint32Array.of(n).buffer);
const u64 = (n) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
const text = (s) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const writers = {
  [U32]: u32,
  [U64]: u64,
  [F32]: (x) => Buffer.from(Float32Array.of(x).buffer),
  [BOOL]: (x) => Buffer.from([x ? 1 : 0]),
  [STRING]: text,
};
const scalar = (key, type, value) => Buffer.concat([text(key), u32(type), writers[type](value)]);
const list = (key, type, values) =>
  Buffer.concat([text(key), u32(ARRAY), u32(type), u64(values.length), ...values.map(writers[type])]);

/** Half floats of small random numbers: exponents of 2^-7 to 2^-4 around zero. */
function randomHalves(count) {
  const data = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const sign = Math.random() < 0.5 ? 0x8000 : 0;
    data[i] = sign | ((8 + Math.floor(Math.random() * 4)) << 10) | Math.floor(Math.random() * 1024);
  }
  return data;
}

const shapes = {
  mamba: { width: 768, layers: 24, inner: 1536, state: 16, convolved: 1536, dtRank: 48, groups: 1, heads: 1536 },
  mamba2: { width: 768, layers: 24, inner: 1536, state: 128, convolved: 1536 + 256, dtRank: 24, groups: 1, heads: 24 },
};
export const vocabulary = 50280;

/** Dimensions innermost first, as GGUF has them. */
function tensors(family) {
  const { width, layers, inner, state, convolved, dtRank, heads } = shapes[family];
  const half = (name, ...dims) => ({ name, dims, type: TYPE_F16 });
  const float = (name, value, ...dims) => ({ name, dims, type: TYPE_F32, value });
  const all = [half("token_embd.weight", width, vocabulary), float("output_norm.weight", () => 1, width)];
  for (let layer = 0; layer < layers; layer++) {
    const at = (name) => `blk.${layer}.${name}`;
    const projected = family === "mamba" ? 2 * inner : inner + convolved + heads;
    all.push(
      float(at("attn_norm.weight"), () => 1, width),
      half(at("ssm_in.weight"), width, projected),
      float(at("ssm_conv1d.weight"), () => Math.random() - 0.5, 4, convolved),
      float(at("ssm_conv1d.bias"), () => 0.1 * (Math.random() - 0.5), convolved),
      float(at("ssm_dt.bias"), () => -4 + 2 * Math.random(), heads),
      half(at("ssm_out.weight"), inner, width),
    );
    if (family === "mamba") {
      all.push(
        half(at("ssm_x.weight"), inner, dtRank + 2 * state),
        half(at("ssm_dt.weight"), dtRank, inner),
        float(at("ssm_a"), () => -1 - 15 * Math.random(), state, inner),
        float(at("ssm_d"), () => 1, inner),
      );
    } else {
      all.push(
        float(at("ssm_a"), () => -1 - 15 * Math.random(), 1, heads),
        float(at("ssm_d"), () => 1, 1, heads),
        float(at("ssm_norm.weight"), () => 1, inner, 1),
      );
    }
  }
  return all;
}

/** @param family "mamba" or "mamba2" */
export function writeGguf(file, family) {
  const { width, layers, inner, state, dtRank, groups } = shapes[family];
  const key = (name) => `${family}.${name}`;
  const words = Array.from({ length: vocabulary }, (_, i) => (i < 256 ? String.fromCharCode(0x100 + i) : `w${i}`));
  const metadata = [
    scalar("general.architecture", STRING, family),
    scalar("general.name", STRING, `random ${family} 130m`),
    scalar("general.file_type", U32, 1),
    scalar(key("context_length"), U32, 1 << 20),
    scalar(key("embedding_length"), U32, width),
    scalar(key("feed_forward_length"), U32, 0),
    scalar(key("attention.head_count"), U32, 0),
    scalar(key("block_count"), U32, layers),
    scalar(key("ssm.conv_kernel"), U32, 4),
    scalar(key("ssm.inner_size"), U32, inner),
    scalar(key("ssm.state_size"), U32, state),
    scalar(key("ssm.time_step_rank"), U32, dtRank),
    scalar(key("ssm.group_count"), U32, groups),
    scalar(key("ssm.dt_b_c_rms"), BOOL, false),
    scalar(key("attention.layer_norm_rms_epsilon"), F32, 1e-5),
    scalar("tokenizer.ggml.model", STRING, "gpt2"),
    scalar("tokenizer.ggml.pre", STRING, "gpt-2"),
    list("tokenizer.ggml.tokens", STRING, words),
    list("tokenizer.ggml.merges", STRING, ["a b"]),
    scalar("tokenizer.ggml.bos_token_id", U32, 0),
    scalar("tokenizer.ggml.eos_token_id", U32, 0),
  ];
  const all = tensors(family);
  const padded = (n) => Math.ceil(n / ALIGNMENT) * ALIGNMENT;
  const elements = (t) => t.dims.reduce((a, b) => a * b, 1);
  let offset = 0;
  const infos = all.map((t) => {
    const info = Buffer.concat([text(t.name), u32(t.dims.length), ...t.dims.map(u64), u32(t.type), u64(offset)]);
    offset += padded(elements(t) * (t.type === TYPE_F16 ? 2 : 4));
    return info;
  });
  const header = Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(all.length),
    u64(metadata.length),
    ...metadata,
    ...infos,
  ]);
  const output = openSync(file, "w");
  const put = (bytes) => {
    writeSync(output, bytes);
    const rest = padded(bytes.byteLength) - bytes.byteLength;
    if (rest > 0) writeSync(output, Buffer.alloc(rest));
  };
  put(header);
  for (const t of all) {
    const data = t.type === TYPE_F16 ? randomHalves(elements(t)) : Float32Array.from({ length: elements(t) }, t.value);
    put(new Uint8Array(data.buffer));
  }
  closeSync(output);
}
