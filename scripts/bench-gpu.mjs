// Times the CUDA kernels and stacks by CUDA events: node scripts/bench-gpu.mjs [--out FILE.json] [--only TEXT] [--ops]
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { dtypeSize, toBf16 } from "../packages/core/dist/index.js";
import { capacityBytes } from "../packages/graph/dist/index.js";
import { CausalModel, describeModel, Generation } from "../packages/nn/dist/index.js";
import { inspectCuda, openDevice } from "../packages/runtime/dist/index.js";
import { commitOf } from "./gpu/commit.mjs";
import { rows } from "./gpu/rows.mjs";

const { values: flags } = parseArgs({
  options: { out: { type: "string" }, only: { type: "string" }, ops: { type: "boolean" }, repeats: { type: "string" } },
});
const cuda = inspectCuda();
if (cuda.devices === 0) {
  console.log(`No CUDA device: ${cuda.reason}`);
  process.exit(0);
}
const device = await openDevice({ device: "cuda" });
const description = device.describe();
console.log(JSON.stringify(description));

const PATTERN = 1 << 22; // elements of random data, repeated to fill a buffer
const pattern = new Float32Array(PATTERN);
for (let i = 0; i < PATTERN; i++) pattern[i] = Math.random() * 2 - 1;
// Step sizes must be positive and small where they come already through softplus.
const shapedBy = { dt: (x) => 0.05 + 0.04 * x, aLog: (x) => 0.5 + x, A_log: (x) => 1 + x };

const shaped = new Map();
function shapedPattern(name, size) {
  const key = `${name in shapedBy ? name : ""} ${size}`;
  if (!shaped.has(key)) {
    const values = pattern.map(shapedBy[name] ?? ((x) => 0.2 * x));
    shaped.set(key, size === 2 ? Uint16Array.from(values, toBf16) : values);
  }
  return shaped.get(key);
}

async function randomBuffer(name, value) {
  const buffer = await device.allocate(capacityBytes(value));
  if (value.dtype === "i32") {
    await buffer.fill(0);
    return buffer;
  }
  const size = dtypeSize(value.dtype);
  const data = shapedPattern(name.split(".").at(-1), size);
  for (let at = 0; at < buffer.bytes; at += PATTERN * size) {
    await buffer.write(data.subarray(0, Math.min(PATTERN, (buffer.bytes - at) / size)), at);
  }
  return buffer;
}

/** Wall-clock milliseconds per token of a greedy generation, with several steps under way as it has them. */
async function timeGeneration(config, { warmup = 20, repeats = 300 } = {}) {
  const description = describeModel({ path: "config.json", values: config }, { names: new Set() });
  const read = async ({ name, shape }) => {
    const values = shapedPattern(name.split(".").at(-1), 4);
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let at = 0; at < data.length; at += PATTERN) {
      data.set(values.subarray(0, Math.min(PATTERN, data.length - at)), at);
    }
    return data;
  };
  const weights = { origin: "random numbers", names: undefined, shapeOf: () => undefined, read };
  const model = await CausalModel.create(device, description, weights, { dtype: "bf16", maxTokens: 64, slots: 1 });
  try {
    const options = { maxTokens: warmup + repeats + 1, endTokens: [] };
    let tokens = 0;
    let start = 0;
    for await (const _ of Generation.start(model, [[1, 2, 3]], options))
      if (++tokens === warmup) start = performance.now();
    return (performance.now() - start) / (tokens - warmup);
  } finally {
    model.close();
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const results = [];
/** After every row, so that a run that is cut short leaves what it measured. */
function keep() {
  if (!flags.out) return;
  const result = { device: description, date: new Date().toISOString(), commit: commitOf(), rows: results };
  writeFileSync(flags.out, `${JSON.stringify(result, null, 1)}\n`);
}
/** Median milliseconds by the device's clock; `--ops` prints the share of each op. */
async function timeProgram({ graph, symbols, inputs }) {
  const buffers = {};
  let program;
  try {
    for (const [name, value] of graph.bindings) {
      const kind = value.binding.kind;
      if (kind === "parameter" || kind === "state") buffers[name] = await randomBuffer(name, value);
    }
    program = await device.load(graph, { buffers });
    const run = { symbols, inputs };
    const { milliseconds } = await program.measure(run, { warmup: 3, repeats: Number(flags.repeats ?? 20) });
    if (flags.ops) {
      const { ops } = await program.measure(run, { warmup: 1, repeats: 5, perOp: true });
      const byOp = new Map();
      for (const { op, milliseconds: t } of ops) byOp.set(op, (byOp.get(op) ?? 0) + t);
      for (const [op, t] of [...byOp].sort((a, b) => b[1] - a[1])) console.log(`    ${op.padEnd(24)} ${t.toFixed(3)}`);
    }
    return median(milliseconds);
  } finally {
    program?.close();
    for (const buffer of Object.values(buffers)) buffer.close();
  }
}

for (const { id, build, generates, floorMs, referenceMs } of rows) {
  if (flags.only && !id.includes(flags.only)) continue;
  try {
    const ms = generates ? await timeGeneration(generates) : await timeProgram(build());
    const ratio = referenceMs ? ms / referenceMs : undefined;
    results.push({ id, ms, floorMs, referenceMs, ratio });
    const shown = (x, digits = 3) => (x === undefined ? "-" : x.toFixed(digits)).padStart(9);
    console.log(
      `${id.padEnd(32)} ms ${shown(ms)}  floor ${shown(floorMs)}  reference ${shown(referenceMs)}  ratio ${shown(ratio, 2)}`,
    );
  } catch (error) {
    console.log(`${id.padEnd(32)} failed: ${error.message}`);
    results.push({ id, failure: error.message });
  }
  keep();
}
await device.close();
