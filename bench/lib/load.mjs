// Times the loading of a model folder beside the reading of its file, in a process of its own: node load.mjs FOLDER DTYPE THREADS REPEATS
import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { loadCausalModel } from "../../packages/nn/dist/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";

const [folder, dtype, threads, repeats] = process.argv.slice(2);
const bytesOf = (key) =>
  1024 * Number(new RegExp(`${key}:\\s+(\\d+)`).exec(readFileSync("/proc/self/status", "utf8"))[1]);

/** The plain read that a load is compared with: one piece of memory, filled again and again. */
async function readSeconds() {
  const file = await open(join(folder, "model.safetensors"));
  const piece = Buffer.alloc(2 ** 24);
  const began = performance.now();
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  const seconds = (performance.now() - began) / 1000;
  await file.close();
  return seconds;
}

const device = await openDevice({ device: "cpu", threads: Number(threads) });
await readSeconds(); // into the page cache
const runs = [];
let peakBytes;
for (let i = 0; i < Number(repeats); i++) {
  const read = await readSeconds();
  const began = performance.now();
  const model = await loadCausalModel(device, folder, { dtype, maxTokens: 1, maxSequences: 1, slots: 1 });
  const load = (performance.now() - began) / 1000;
  peakBytes ??= bytesOf("VmHWM");
  model.close();
  runs.push({ read, load });
}
await device.close();
console.log(JSON.stringify({ runs, peakBytes }));
