// The 130M language models beside node-llama-cpp on the same shapes (random weights, its F16), in one run. It is no dependency: install it anywhere
// (`npm install node-llama-cpp`) and name that folder in KRAIT_NODE_LLAMA_CPP.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { stack } from "../lib/graphs.mjs";

const PROMPT = 512;
const LAYERS = 24;
const families = { mamba: `M1x${LAYERS}`, mamba2: `M2x${LAYERS}` };
const script = fileURLToPath(new URL("../peers/node-llama-cpp.mjs", import.meta.url));

const beside = (family, layout) => ({
  id: `peer/node-llama-cpp/${family}`,
  run: async (kit) => {
    const folder = process.env.KRAIT_NODE_LLAMA_CPP;
    if (!folder) return { skipped: "KRAIT_NODE_LLAMA_CPP names no folder" };
    const args = [script, folder, family, String(kit.machine.threads)];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 300_000 });
    const peer = JSON.parse(stdout.trim().split("\n").at(-1));
    const record = { peerPromptTokensPerSecond: peer.promptTokensPerSecond, peerStepsPerSecond: peer.stepsPerSecond };
    for (const dtype of ["f32", "bf16"]) {
      const prompt = await kit.timeProgram(stack({ length: PROMPT, layout, dtype }), { repeats: 3 });
      const step = await kit.timeProgram(stack({ length: 1, layout, dtype, head: true }), { warmup: 5, repeats: 50 });
      const promptRate = (PROMPT / prompt.ms) * 1000;
      Object.assign(record, {
        [`${dtype}PromptTokensPerSecond`]: promptRate,
        [`${dtype}PromptRatio`]: promptRate / peer.promptTokensPerSecond,
        [`${dtype}StepsPerSecond`]: 1000 / step.ms,
        [`${dtype}StepRatio`]: 1000 / step.ms / peer.stepsPerSecond,
      });
    }
    return record;
  },
});

export const rows = Object.entries(families).map(([family, layout]) => beside(family, layout));
