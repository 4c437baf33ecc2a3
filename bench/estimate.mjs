// estimate() against what encodings took: five configurations, each in a process of its own whose memory, with that of all it starts, is
// read fifty times a second.
//
//   node bench/estimate.mjs [--only NAME] [--out FILE.json]
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { audio, encodeFile, estimate, loadEncoder, text, video } from "../packages/krait/dist/index.js";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "../packages/nn/dist/index.js";
import { commitOf } from "../scripts/gpu/commit.mjs";
import { residentBytes } from "./lib/processes.mjs";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string" },
    out: { type: "string" },
    worker: { type: "string" },
    folder: { type: "string" },
  },
});
const base = { model_type: "krait_encoder", version: 1 };
const mamba2 = { stateSize: 64, headDim: 64 };
const attention = { heads: 4, keyHeads: 2, window: 512, sinks: 4 };

const cases = {
  "built-in, 480p with sound": {
    model: () => ({ seed: 0 }),
    sources: () => [video(clip("480p.mp4", "640x480", 30), { fps: 4 }), audio(clip("480p.mp4", "640x480", 30))],
    options: { threads: 2 },
  },
  "24 layers of width 256, 720p with sound": {
    model: () => ({
      seed: 0,
      config: {
        ...base,
        inputs: { video: { width: 224, height: 224, patch: 16, tubelet: 1 }, audio: {} },
        stack: { width: 256, layout: "(M2 M2 M2 A)x6", mamba2, attention },
      },
    }),
    sources: () => [video(clip("720p.mp4", "1280x720", 60), { fps: 1 }), audio(clip("720p.mp4", "1280x720", 60))],
    options: { threads: 2 },
  },
  "Mamba-1 of width 512 in bf16, 1080p": {
    model: () => ({
      seed: 0,
      config: { ...base, inputs: { video: { patch: 16 } }, stack: { width: 512, layout: "(M1 M1 M1 A)x2", attention } },
    }),
    sources: () => [video(clip("1080p.mp4", "1920x1080", 20), { fps: 2 })],
    options: { threads: 1, dtype: "bf16", chunkTokens: 4096 },
  },
  "width 128 in small chunks, wav": {
    model: () => ({
      seed: 0,
      config: { ...base, inputs: { audio: {} }, stack: { width: 128, layout: "(M2 A)x4", mamba2, attention } },
    }),
    sources: () => [audio(clip("sound.wav", undefined, 600))],
    options: { threads: 2, chunkTokens: 256 },
  },
  "24 layers of width 768 from a folder, text": {
    model: () => join(flags.folder, "model"),
    prepare: async () => {
      const config = {
        ...base,
        inputs: { text: {} },
        stack: { width: 768, layout: "M2x24", mamba2: { stateSize: 128, headDim: 64 } },
      };
      await saveCheckpoint(join(flags.folder, "model"), parseEncoderConfig(config), seededWeights(1));
    },
    sources: () => [text("What is said and what is seen. ".repeat(300))],
    options: { threads: 2 },
  },
};

/** A clip in the folder, made when it is not there: moving pictures unless no size is given, and sound. */
function clip(name, size, seconds) {
  const path = join(flags.folder, name);
  if (existsSync(path)) return path;
  const pictures = size ? ["-f", "lavfi", "-i", `testsrc2=size=${size}:rate=25:duration=${seconds}`] : [];
  const sound = ["-f", "lavfi", "-i", `sine=frequency=300:sample_rate=16000:duration=${seconds}`];
  const codecs = size ? ["-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac"] : [];
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...pictures, ...sound, ...codecs, path]);
  return path;
}

async function measure(name) {
  const { model, sources, options, prepare } = cases[name];
  await prepare?.();
  const told = await estimate(model(), sources(), options);
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "--worker", name, "--folder", flags.folder], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  let measuredBytes = 0;
  let atPeak = {};
  const watch = setInterval(() => {
    const bytes = residentBytes(child.pid);
    const total = Object.values(bytes).reduce((a, b) => a + b, 0);
    if (total <= measuredBytes) return;
    measuredBytes = total;
    atPeak = bytes;
  }, 20);
  const code = await new Promise((resolve) => child.once("close", resolve));
  clearInterval(watch);
  if (code !== 0) throw new Error(`${name} ended with ${code}`);
  const { peakBytes: estimatedBytes, memory } = told;
  return { id: name, measuredBytes, estimatedBytes, ratio: estimatedBytes / measuredBytes, memory, measured: atPeak };
}

async function work(name) {
  const { model, sources, options } = cases[name];
  const encoder = await loadEncoder(model(), { device: "cpu", ...options });
  await encodeFile(encoder, sources(), { out: join(flags.folder, "features.safetensors") });
  await encoder.close();
}

if (flags.worker) {
  await work(flags.worker);
} else {
  flags.folder ??= mkdtempSync(join(tmpdir(), "krait-estimate-"));
  const rows = [];
  for (const name of Object.keys(cases).filter((one) => one.includes(flags.only ?? ""))) {
    const row = await measure(name);
    rows.push(row);
    console.log(JSON.stringify(row));
  }
  rmSync(flags.folder, { recursive: true, force: true });
  const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version };
  const out = flags.out ?? (flags.only === undefined ? new URL("./results/estimate.json", import.meta.url) : undefined);
  const record = { machine, date: new Date().toISOString(), commit: commitOf(), rows };
  if (out) writeFileSync(out, `${JSON.stringify(record, null, 1)}\n`);
}
