// The hour: an hour of video and sound through decoder, tokenizers and a 24-layer hybrid into a file, on two threads.
//
//   node bench/hour.mjs [--minutes 60] [--folder DIR] [--threads 2] [--decoded 300] [--rounds 3] [--out FILE.json] [--page FILE.svg]
//
// Decoding alone is timed first, by turns: ffmpeg sampling the same frames to null, and decode(). Then the whole runs in a process of its own,
// whose memory, and that of all it starts, is read every second.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { commitOf } from "../scripts/gpu/commit.mjs";
import { longClip } from "./lib/clip.mjs";
import { hourPage } from "./lib/hour-page.mjs";
import { cpuSeconds, endedSeconds, residentBytes, threadSeconds } from "./lib/processes.mjs";

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    folder: { type: "string", default: join(tmpdir(), "krait-hour") },
    threads: { type: "string", default: "2" },
    out: { type: "string" },
    page: { type: "string" },
    rounds: { type: "string", default: "3" },
    decoded: { type: "string", default: "300" },
    worker: { type: "string" },
  },
});
const minutes = Number(flags.minutes);
const threads = Number(flags.threads);
/** Seconds of media for the decoders alone, and how often each. */
const DECODED = Math.min(Number(flags.decoded), 60 * minutes);
const ROUNDS = Number(flags.rounds);

const MODEL = {
  model_type: "krait_encoder",
  version: 1,
  inputs: { video: { width: 224, height: 224, patch: 16, tubelet: 1 }, audio: {} },
  stack: {
    width: 256,
    layout: "(M2 M2 M2 A)x6",
    mamba2: { stateSize: 64, headDim: 64 },
    attention: { heads: 4, keyHeads: 2, window: 512, sinks: 4 },
  },
};

/** ffmpeg as one would call it for the same frames and samples, which it throws away. */
function ffmpegAlone(clip) {
  const frames =
    "select='isnan(prev_selected_t)+gte(t-prev_selected_t,0.999)',scale=-2:224:flags=bicubic,crop=224:224,format=rgb24";
  const args = ["-v", "error", "-nostdin", "-threads", String(threads), "-t", String(DECODED), "-i", clip];
  const outputs = ["-map", "0:v", "-vf", frames, "-vsync", "passthrough", "-map", "0:a", "-ac", "1", "-ar", "16000"];
  return timed("ffmpeg", [...args, ...outputs, "-f", "null", "-"]);
}

const worker = (job) => [fileURLToPath(import.meta.url), ...process.argv.slice(2), "--worker", job];

/** Seconds of the clock and of the processors, until a program has ended. */
async function timed(program, args) {
  const began = performance.now();
  const before = endedSeconds();
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
  return { seconds: (performance.now() - began) / 1000, cpuSeconds: endedSeconds() - before };
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

async function decodersAlone(clip) {
  const rounds = [];
  for (let i = 0; i < ROUNDS; i++) {
    rounds.push({ ffmpeg: await ffmpegAlone(clip), krait: await timed(process.execPath, worker("decode")) });
  }
  const of = (who, what) => median(rounds.map((round) => round[who][what]));
  const [ffmpegSeconds, kraitSeconds] = [of("ffmpeg", "seconds"), of("krait", "seconds")];
  const cpuRatio = of("krait", "cpuSeconds") / of("ffmpeg", "cpuSeconds");
  return { mediaSeconds: DECODED, ffmpegSeconds, kraitSeconds, ratio: kraitSeconds / ffmpegSeconds, cpuRatio, rounds };
}

/** Runs the whole and reads its memory and processor time every second. */
async function encodeWhole() {
  const began = performance.now();
  const child = spawn(process.execPath, worker("encode"), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  let tokens = 0;
  let result;
  child.on("message", (message) => {
    if (message.result) result = message.result;
    else tokens = message.tokens;
  });
  const samples = [];
  let decode = 0;
  let stages = { main: 0, others: 0 };
  const watch = setInterval(() => {
    const bytes = residentBytes(child.pid);
    const total = Object.values(bytes).reduce((a, b) => a + b, 0);
    if (total === 0) return;
    stages = threadSeconds(child.pid);
    decode = Math.max(decode, cpuSeconds(child.pid) - stages.main - stages.others);
    const seconds = (performance.now() - began) / 1000;
    samples.push({ seconds, tokens, bytes: total, decoderBytes: bytes.ffmpeg ?? 0, load: loadavg()[0] });
    if (samples.length % 10 === 0)
      console.error(`${seconds.toFixed(0)} s  ${tokens} tokens  ${(total / 2 ** 20).toFixed(0)} MiB`);
  }, 1000);
  const code = await new Promise((resolve) => child.once("close", resolve));
  clearInterval(watch);
  if (code !== 0 || !result) throw new Error(`the encode ended with ${code}`);
  return { result, samples, stages: { decode, tokenize: stages.main, encode: stages.others } };
}

async function main() {
  const clip = await longClip(flags.folder, minutes);
  const loadBefore = loadavg();
  const decoding = await decodersAlone(clip);
  console.error(
    `decoding ${DECODED} s: ffmpeg ${decoding.ffmpegSeconds.toFixed(1)} s, decode() ${decoding.kraitSeconds.toFixed(1)} s`,
  );
  const { result, samples, stages } = await encodeWhole();
  // The decoder ends, and gives its memory back, when the last chunks are still to be encoded: only up to there a sum says whether it grows.
  const steady = samples.filter((sample) => sample.tokens >= 0.05 * result.tokens && sample.decoderBytes > 0);
  const bytes = steady.map((sample) => sample.bytes);
  const [least, most] = [Math.min(...bytes), Math.max(...bytes)];
  const all = stages.decode + stages.tokenize + stages.encode;
  const record = {
    machine: { cpu: cpus()[0].model, cores: cpus().length, threads, node: process.version },
    date: new Date().toISOString(),
    commit: commitOf(),
    model: { layout: MODEL.stack.layout, width: MODEL.stack.width, dtype: "f32" },
    mediaSeconds: 60 * minutes,
    ...result,
    timesRealTime: (60 * minutes) / result.seconds,
    tokensPerSecond: result.tokens / result.seconds,
    memory: {
      leastBytes: least,
      mostBytes: most,
      spread: most / least - 1,
      peakBytes: Math.max(...samples.map((s) => s.bytes)),
    },
    processorSeconds: stages,
    shares: { decode: stages.decode / all, tokenize: stages.tokenize / all, encode: stages.encode / all },
    decoding,
    load: { before: loadBefore[0], mean: samples.reduce((sum, s) => sum + s.load, 0) / samples.length },
    samples: samples.map((s) => [Math.round(s.seconds), s.tokens, s.bytes, s.decoderBytes]),
  };
  const { samples: _, ...shown } = record;
  console.log(JSON.stringify(shown, null, 1));
  // A shorter clip is no record of the hour.
  const whole = minutes === 60;
  const out = flags.out ?? (whole ? fileURLToPath(new URL("./results/hour.json", import.meta.url)) : undefined);
  const page = flags.page ?? (whole ? fileURLToPath(new URL("./results/hour.svg", import.meta.url)) : undefined);
  // A row of numbers per sample stays on one line.
  const json = JSON.stringify(record, null, 1).replace(
    /\[\s+(\d+),\s+(\d+),\s+(\d+),\s+(\d+)\s+\]/g,
    "[$1, $2, $3, $4]",
  );
  if (out) writeFileSync(out, `${json}\n`);
  if (page) writeFileSync(page, hourPage(record));
}

/** What the processes of their own do. */
async function work(job) {
  const clip = await longClip(flags.folder, minutes);
  if (job === "decode") {
    const { decode } = await import("../packages/media/dist/index.js");
    const video = { sampling: { fps: 1 }, width: 224, height: 224, fit: "cover" };
    for await (const _ of decode(clip, { video, audio: { sampleRate: 16000 }, end: DECODED, threads }));
    return;
  }
  const { audio, encodeFile, loadEncoder, video } = await import("../packages/krait/dist/index.js");
  const encoder = await loadEncoder({ seed: 0, config: MODEL }, { device: "cpu", threads });
  const began = performance.now();
  const onProgress = ({ tokens }) => process.send({ tokens });
  const sources = [video(clip, { fps: 1 }), audio(clip)];
  const { tokens, byModality } = await encodeFile(encoder, sources, {
    out: join(flags.folder, "features.safetensors"),
    onProgress,
  });
  process.send({ result: { tokens, byModality, seconds: (performance.now() - began) / 1000 } });
  await encoder.close();
}

if (flags.worker) await work(flags.worker);
else await main();
