// Times the CUDA kernels and stacks by CUDA events: node scripts/bench-gpu.mjs [--out FILE.json] [--only TEXT] [--ops]
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { dtypeSize, toBf16 } from "../packages/core/dist/index.js";
import { capacityBytes } from "../packages/graph/dist/index.js";
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

async function randomBuffer(name, value) {
  const buffer = await device.allocate(capacityBytes(value));
  const map = shapedBy[name.split(".").at(-1)] ?? ((x) => 0.2 * x);
  const size = dtypeSize(value.dtype);
  const some = pattern.subarray(0, Math.min(PATTERN, buffer.bytes / size));
  const data = size === 2 ? Uint16Array.from(some, (x) => toBf16(map(x))) : some.map(map);
  for (let at = 0; at < buffer.bytes; at += PATTERN * size) {
    await buffer.write(data.subarray(0, Math.min(PATTERN, (buffer.bytes - at) / size)), at);
  }
  return buffer;
}

/** Wall-clock milliseconds of single runs, each with the greedy choice of the one before as its id, as a generation has them. */
async function timeGeneration(program, run, { warmup, repeats }) {
  const times = [];
  let id = 1;
  for (let i = -warmup; i < repeats; i++) {
    const began = performance.now();
    const inputs = { ...run.inputs, ids: Int32Array.of(id), position: BigInt64Array.of(BigInt(i + warmup)) };
    const { logits } = await program.run({ symbols: run.symbols, inputs });
    id = 0;
    for (let j = 1; j < logits.length; j++) if (logits[j] > logits[id]) id = j;
    if (i >= 0) times.push(performance.now() - began);
  }
  return times;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const results = [];
/** After every row, so that a run that is cut short leaves what it measured. */
function keep() {
  if (!flags.out) return;
  const result = { device: description, date: new Date().toISOString(), commit: commitOf(), rows: results };
  writeFileSync(flags.out, `${JSON.stringify(result, null, 1)}\n`);
}
for (const { id, build, floorMs, referenceMs, generates } of rows) {
  if (flags.only && !id.includes(flags.only)) continue;
  const { graph, symbols, inputs } = build();
  const buffers = {};
  let program;
  try {
    for (const [name, value] of graph.bindings) {
      const kind = value.binding.kind;
      if (kind === "parameter" || kind === "state") buffers[name] = await randomBuffer(name, value);
    }
    program = await device.load(graph, { buffers });
    const run = { symbols, inputs };
    const milliseconds = generates
      ? await timeGeneration(program, run, { warmup: 20, repeats: 200 })
      : (await program.measure(run, { warmup: 3, repeats: Number(flags.repeats ?? 20) })).milliseconds;
    const ms = median(milliseconds);
    const ratio = referenceMs ? ms / referenceMs : undefined;
    results.push({ id, ms, floorMs, referenceMs, ratio });
    const shown = (x, digits = 3) => (x === undefined ? "-" : x.toFixed(digits)).padStart(9);
    console.log(
      `${id.padEnd(32)} ms ${shown(ms)}  floor ${shown(floorMs)}  reference ${shown(referenceMs)}  ratio ${shown(ratio, 2)}`,
    );
    if (flags.ops) {
      const { ops } = await program.measure(run, { warmup: 1, repeats: 5, perOp: true });
      const byOp = new Map();
      for (const { op, milliseconds: t } of ops) byOp.set(op, (byOp.get(op) ?? 0) + t);
      for (const [op, t] of [...byOp].sort((a, b) => b[1] - a[1])) console.log(`    ${op.padEnd(24)} ${t.toFixed(3)}`);
    }
  } catch (error) {
    console.log(`${id.padEnd(32)} failed: ${error.message}`);
    results.push({ id, failure: error.message });
  } finally {
    program?.close();
    for (const buffer of Object.values(buffers)) buffer.close();
    keep();
  }
}
await device.close();
