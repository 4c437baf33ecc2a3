// Times the loading of a model folder beside the reading of its file, in a process of its own: node load.mjs FOLDER DTYPE WEIGHTS THREADS REPEATS
import { readFileSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { loadCausalModel } from "../../packages/nn/dist/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";

const [folder, dtype, weights, threads, repeats] = process.argv.slice(2);
const PIECE = 2 ** 24;
const bytesOf = (key) =>
  1024 * Number(new RegExp(`${key}:\\s+(\\d+)`).exec(readFileSync("/proc/self/status", "utf8"))[1]);

/** Reads the file in pieces of 16 MB, to where `placeOf` says for a place in the file. */
async function readSeconds(placeOf) {
  const file = await open(join(folder, "model.safetensors"));
  const began = performance.now();
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(placeOf(at), 0, null, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  const seconds = (performance.now() - began) / 1000;
  await file.close();
  return seconds;
}

/** The plain read that a load is compared with: one piece of memory, filled again and again, stays in the cache. */
function readPlainly() {
  const piece = Buffer.alloc(PIECE);
  return readSeconds(() => piece);
}

/** What whoever reads the file into memory pays: into new memory of its size, which the system clears first. */
async function readFresh() {
  const { size } = statSync(join(folder, "model.safetensors"));
  const began = performance.now();
  let whole = Buffer.allocUnsafeSlow(size);
  const taken = (performance.now() - began) / 1000;
  const seconds = taken + (await readSeconds((at) => whole.subarray(at, at + PIECE)));
  whole = undefined;
  globalThis.gc();
  return seconds;
}

const device = await openDevice({ device: "cpu", threads: Number(threads) });
await readPlainly(); // into the page cache
const runs = [];
let peakBytes;
for (let i = 0; i < Number(repeats); i++) {
  const read = await readPlainly();
  const began = performance.now();
  const model = await loadCausalModel(device, folder, { dtype, weights, maxTokens: 1, maxSequences: 1, slots: 1 });
  const load = (performance.now() - began) / 1000;
  await model.run([{ ids: [1] }]);
  // Pages of a mapped file count from when they are touched: a run has touched all.
  peakBytes ??= bytesOf("VmHWM");
  model.close();
  runs.push({ read, load, fresh: await readFresh() });
}
await device.close();
console.log(JSON.stringify({ runs, peakBytes }));
