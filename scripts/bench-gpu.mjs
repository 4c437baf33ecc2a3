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

const STEPS_AHEAD = 3;
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

/** Wall-clock milliseconds from token to token, with the next steps under way before a token is read, as a greedy generation has them. */
async function timeGeneration(program, run, { warmup, repeats }) {
  const times = [];
  const underWay = [];
  let steps = 0;
  const begin = () => {
    const inputs = { ...run.inputs, position: BigInt64Array.of(BigInt(steps++)) };
    underWay.push(program.run({ symbols: run.symbols, inputs }));
  };
  while (underWay.length < STEPS_AHEAD) begin();
  let last = performance.now();
  for (let i = -warmup; i < repeats; i++) {
    begin();
    const { chosen } = await underWay.shift();
    if (!(chosen[0] >= 0)) throw new Error(`Expected a token but received ${chosen[0]}`);
    const now = performance.now();
    if (i >= 0) times.push(now - last);
    last = now;
  }
  await Promise.all(underWay);
  return times;
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
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
    // Steps that end together are read together: their mean says how often a token comes.
    const ms = generates ? mean(milliseconds) : median(milliseconds);
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
