// Loading a checkpoint of the 1.3-billion-parameter shape beside reading its file, both from the page cache, and the memory that it takes.
import { execFile } from "node:child_process";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { median } from "../lib/kit.mjs";

const node = async (script, ...args) => {
  const path = fileURLToPath(new URL(`../lib/${script}`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", path, ...args.map(String)], {
    timeout: 300_000,
  });
  return stdout;
};

const load = ([dtype, weights]) => ({
  id: `load/mamba2-1.3b/${dtype}${weights === "copied" ? "/copied" : ""}`,
  run: async (kit) => {
    const folder = await mkdtemp(join(tmpdir(), "krait-bench-"));
    try {
      await node("checkpoint.mjs", folder, ...(kit.quick ? [1024, 12, 50_288] : [2048, 48, 50_288]));
      const { size } = await stat(join(folder, "model.safetensors"));
      const { runs, peakBytes } = JSON.parse(await node("load.mjs", folder, dtype, weights, kit.machine.threads, 5));
      const weightBytes = dtype === "bf16" ? size : 2 * size;
      return {
        fileBytes: size,
        readSeconds: median(runs.map((r) => r.read)),
        loadSeconds: median(runs.map((r) => r.load)),
        ratio: median(runs.map((r) => r.load / r.read)),
        // Into new memory as large as the file, where the plain read fills one piece again and again.
        freshReadSeconds: median(runs.map((r) => r.fresh)),
        freshRatio: median(runs.map((r) => r.load / r.fresh)),
        peakBytes,
        besideWeightsBytes: peakBytes - weightBytes,
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});

// The file holds bf16: in f32 only norms and the like stay in it, whatever is asked.
export const rows = [
  ["bf16", "mapped"],
  ["bf16", "copied"],
  ["f32", "mapped"],
].map(load);
