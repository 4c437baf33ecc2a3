// Writes a folder that loads as a published Mamba-2 model, of random weights in bf16: node checkpoint.mjs FOLDER WIDTH LAYERS VOCABULARY
import { randomFillSync } from "node:crypto";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const [folder, width, layers, vocabulary] = process.argv.slice(2).map((x, i) => (i === 0 ? x : Number(x)));
const [states, headDim] = [128, 64];
const inner = 2 * width;
const heads = inner / headDim;
const convolved = inner + 2 * states;

const shapes = [["backbone.embeddings.weight", [vocabulary, width]]];
for (let i = 0; i < layers; i++) {
  const mixer = `backbone.layers.${i}.mixer`;
  shapes.push(
    [`backbone.layers.${i}.norm.weight`, [width]],
    [`${mixer}.in_proj.weight`, [inner + convolved + heads, width]],
    [`${mixer}.conv1d.weight`, [convolved, 1, 4]],
    [`${mixer}.conv1d.bias`, [convolved]],
    ...["dt_bias", "A_log", "D"].map((name) => [`${mixer}.${name}`, [heads]]),
    [`${mixer}.norm.weight`, [inner]],
    [`${mixer}.out_proj.weight`, [width, inner]],
  );
}
shapes.push(["backbone.norm_f.weight", [width]]);

const header = {};
let bytes = 0;
for (const [name, shape] of shapes) {
  const size = 2 * shape.reduce((a, b) => a * b, 1);
  header[name] = { dtype: "BF16", shape, data_offsets: [bytes, bytes + size] };
  bytes += size;
}
const text = JSON.stringify(header);
const json = text.padEnd(Math.ceil(text.length / 8) * 8);
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(json.length));
// Small finite numbers of either sign.
const block = randomFillSync(new Uint16Array(2 ** 23)).map((bits) => (bits & 0x807f) | 0x3c00);
const file = openSync(join(folder, "model.safetensors"), "w");
writeSync(file, length);
writeSync(file, json);
for (let left = bytes; left > 0; left -= block.byteLength)
  writeSync(file, new Uint8Array(block.buffer, 0, Math.min(left, block.byteLength)));
closeSync(file);
const config = {
  model_type: "mamba2",
  hidden_size: width,
  num_hidden_layers: layers,
  vocab_size: vocabulary,
  state_size: states,
  num_heads: heads,
  head_dim: headDim,
  n_groups: 1,
  conv_kernel: 4,
  tie_word_embeddings: true,
};
writeFileSync(join(folder, "config.json"), JSON.stringify(config));
