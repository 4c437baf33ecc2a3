// A thousand encodes, and a hundred that are aborted at random moments: resident memory after collections, open files, child processes,
// and what lies in the output folder.
//
//   node --expose-gc bench/soak.mjs [--encodes 1000] [--aborts 100] [--seed N] [--out FILE.json]
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { audio, encodeFile, image, inspectFeatures, loadEncoder, text, video } from "../packages/krait/dist/index.js";
import { generator } from "../packages/runtime/dist/conformance/index.js";
import { commitOf } from "../scripts/gpu/commit.mjs";
import { processTree, residentBytes } from "./lib/processes.mjs";

const { values: flags } = parseArgs({
  options: {
    encodes: { type: "string", default: "1000" },
    aborts: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    out: { type: "string" },
  },
});
if (!globalThis.gc) throw new Error("run it with node --expose-gc");
const [encodes, aborts] = [Number(flags.encodes), Number(flags.aborts)];
const folder = mkdtempSync(join(tmpdir(), "krait-soak-"));
const at = (name) => join(folder, name);
const random = generator(Number(flags.seed));

const moving = [
  "-f",
  "lavfi",
  "-i",
  "testsrc2=size=160x120:rate=10:duration=4",
  "-f",
  "lavfi",
  "-i",
  "sine=d=4:sample_rate=16000",
];
execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...moving, "-c:v", "mpeg4", "-c:a", "pcm_s16le", at("clip.mkv")]);
execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-i", at("clip.mkv"), "-vn", at("sound.wav")]);
execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-i", at("clip.mkv"), "-frames:v", "1", at("picture.png")]);
const config = {
  model_type: "krait_encoder",
  version: 1,
  inputs: { video: { width: 64, height: 64, patch: 16 }, audio: {}, text: {} },
  stack: {
    width: 64,
    layout: "M2 A M2",
    mamba2: { stateSize: 16, headDim: 16 },
    attention: { heads: 2, keyHeads: 1, window: 64, sinks: 2 },
  },
};
const withClip = () => [text("words"), video(at("clip.mkv"), { fps: 4 }), audio(at("clip.mkv"))];
const withoutClip = () => [text("words ".repeat(50)), image(at("picture.png")), audio(at("sound.wav"))];

async function state() {
  for (let i = 0; i < 3; i++) {
    gc();
    await sleep(20);
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const residentMiB = residentBytes(process.pid).node / 2 ** 20;
  const files = readdirSync("/proc/self/fd").length;
  return {
    residentMiB,
    heapMiB: heapUsed / 2 ** 20,
    buffersMiB: arrayBuffers / 2 ** 20,
    files,
    processes: processTree(process.pid).length,
  };
}

async function thousand(encoder) {
  const states = [];
  for (let i = 1; i <= encodes; i++) {
    await encoder.encode(i % 10 === 0 ? withClip() : withoutClip());
    if (i % Math.ceil(encodes / 10) > 0) continue;
    states.push({ encodes: i, ...(await state()) });
    console.error(`${i} encodes: ${states.at(-1).residentMiB.toFixed(1)} MiB`);
  }
  return states;
}

/** One encode into an empty folder, aborted after so many milliseconds. Says what happened; throws where something is left. */
async function aborted(encoder, milliseconds) {
  const out = at("out");
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  const timer = new AbortController();
  const wait = setTimeout(() => timer.abort(), milliseconds);
  const job = { out: join(out, "f.safetensors"), page: join(out, "f.html"), signal: timer.signal };
  const error = await encodeFile(encoder, withClip(), job).then(
    () => undefined,
    (thrown) => thrown,
  );
  clearTimeout(wait);
  const left = readdirSync(out).sort();
  if (error === undefined) {
    if (left.join() !== "f.html,f.safetensors") throw new Error(`a whole run left ${left}`);
    await inspectFeatures(job.out);
    return "whole";
  }
  if (error.code !== "ABORTED") throw error;
  if (left.length > 0) throw new Error(`an aborted run left ${left}`);
  return "aborted";
}

async function hundred(encoder) {
  const began = performance.now();
  await aborted(encoder, 2 ** 30);
  const whole = performance.now() - began;
  for (let i = 0; i < 10; i++) await aborted(encoder, random() * whole);
  const before = await state();
  const outcomes = { aborted: 0, whole: 0 };
  for (let i = 0; i < aborts; i++) outcomes[await aborted(encoder, random() * whole)]++;
  return { ...outcomes, before, after: await state() };
}

const encoder = await loadEncoder({ seed: 5, config }, { device: "cpu", threads: 2, chunkTokens: 128 });
const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version };
const record = { machine, date: new Date().toISOString(), commit: commitOf() };
record.encodes = await thousand(encoder);
record.aborts = await hundred(encoder);
await encoder.close();
rmSync(folder, { recursive: true, force: true });
const first = record.encodes[0].residentMiB;
record.growthMiB = {
  encodes: record.encodes.at(-1).residentMiB - first,
  aborts: record.aborts.after.residentMiB - record.aborts.before.residentMiB,
};
console.log(JSON.stringify(record, null, 1));
const whole = encodes === 1000 && aborts === 100;
const out = flags.out ?? (whole ? new URL("./results/soak.json", import.meta.url) : undefined);
if (out) writeFileSync(out, `${JSON.stringify(record, null, 1)}\n`);
