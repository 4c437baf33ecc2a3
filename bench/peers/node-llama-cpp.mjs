// Times node-llama-cpp on random weights: node bench/peers/node-llama-cpp.mjs FOLDER mamba|mamba2 THREADS, where FOLDER/node_modules holds it.
// Prints { promptTokensPerSecond, stepsPerSecond } as JSON.
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { vocabulary, writeGguf } from "./gguf.mjs";

const PROMPT = 512;
const STEPS = 64;
const REPEATS = 3;

const [folder, family, threads] = process.argv.slice(2);
const require = createRequire(pathToFileURL(join(resolve(folder), "package.json")));
const { getLlama } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const scratch = mkdtempSync(join(tmpdir(), "krait-gguf-"));
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
try {
  const file = join(scratch, `${family}.gguf`);
  writeGguf(file, family);
  const llama = await getLlama({ gpu: false, build: "never", maxThreads: Number(threads), logLevel: "disabled" });
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  const prompts = [];
  const steps = [];
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const context = await model.createContext({
      contextSize: 2048,
      batchSize: PROMPT,
      threads: Number(threads),
      sequences: 1,
    });
    const sequence = context.getSequence();
    const ids = Array.from({ length: PROMPT + 1 }, () => 300 + Math.floor(Math.random() * (vocabulary - 300)));
    let begun = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, PROMPT));
    prompts.push((PROMPT / (performance.now() - begun)) * 1000);
    begun = performance.now();
    let count = 0;
    for await (const _ of sequence.evaluate([ids[PROMPT]], { temperature: 0 })) if (++count === STEPS) break;
    steps.push((count / (performance.now() - begun)) * 1000);
    await context.dispose();
  }
  await model.dispose();
  console.log(JSON.stringify({ promptTokensPerSecond: median(prompts), stepsPerSecond: median(steps) }));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(0);
