// An hour of sound, and of pictures at one a second, from generators through a 24-layer hybrid of width 768 on the GPU:
// node scripts/gpu/long-run.mjs [--seconds 3600] [--chunk 16384] [--front-ends cuda|cpu] [--priority high|normal] [--out FILE.json]
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { assembleChunks } from "../../packages/krait/dist/assemble.js";
import { runChunks } from "../../packages/krait/dist/run-chunks.js";
import { EncoderModel, parseEncoderConfig, seededWeights } from "../../packages/nn/dist/index.js";
import { inspectCuda, openDevice } from "../../packages/runtime/dist/index.js";
import { audioTokenSource, createLogMel, interleave, videoTokenSource } from "../../packages/tokenizers/dist/index.js";
import { commitOf } from "./commit.mjs";

const { values: flags } = parseArgs({
  options: {
    seconds: { type: "string", default: "3600" },
    chunk: { type: "string", default: "16384" },
    device: { type: "string", default: "cuda" },
    width: { type: "string", default: "768" },
    "front-ends": { type: "string" },
    priority: { type: "string", default: "high" },
    out: { type: "string" },
  },
});
const seconds = Number(flags.seconds);
const width = Number(flags.width);
const onGpu = flags.device === "cuda";
if (onGpu && inspectCuda().devices === 0) {
  console.log(`No CUDA device: ${inspectCuda().reason}`);
  process.exit(0);
}
const config = parseEncoderConfig({
  model_type: "krait_encoder",
  version: 1,
  inputs: { video: { tubelet: 1, patch: 16 }, audio: { stack: 8 } },
  stack: {
    width,
    layout: "(M2 M2 M2 M2 M2 A)x4",
    mamba2: { stateSize: 128, headDim: 64 },
    attention: { heads: width / 64, keyHeads: Math.max(1, Math.floor(width / 256)), window: 1024, sinks: 4 },
  },
});
const device = await openDevice({ device: flags.device });
const model = await EncoderModel.create(device, config, seededWeights(0), {
  dtype: onGpu ? "bf16" : "f32",
  maxTokens: Number(flags.chunk),
});
// As the encoder does: a queue of its own on the GPU.
const frontEnds = await openDevice({ device: flags["front-ends"] ?? flags.device, priority: flags.priority });
const logMel = await createLogMel(frontEnds, { melBins: config.inputs.audio.melBins, normalization: "fixed" });

async function* frames() {
  const some = Array.from({ length: 8 }, () => Uint8Array.from({ length: 224 * 224 * 3 }, () => Math.random() * 256));
  for (let i = 0; i < seconds; i++) {
    yield { pixels: some[i % 8], width: 224, height: 224, start: i, end: i + 1 };
  }
}

async function* samples() {
  const noise = Float32Array.from({ length: 16000 }, () => Math.random() - 0.5);
  for (let i = 0; i < seconds; i++) yield { samples: noise, sampleRate: 16000, start: i };
}

const chunksOf = () => {
  const { video, audio } = config.inputs;
  const sources = [
    videoTokenSource({ parts: frames(), tubelet: video.tubelet, patch: video.patch }),
    audioTokenSource({ parts: samples(), logMel, stack: audio.stack }),
  ];
  const { windowSeconds, separators } = config.sequence;
  return assembleChunks(interleave(sources, { windowSeconds, separators }), config, model.maxTokens);
};

/** What the driver counts: the share of time in which some kernel ran, and the memory in use. */
function watch() {
  const query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "100"];
  const rows = [];
  const child = spawn("nvidia-smi", query, { stdio: ["ignore", "pipe", "ignore"] });
  child.on("error", () => {});
  child.stdout.on("data", (text) => {
    for (const line of String(text).trim().split("\n")) rows.push(line.split(",").map(Number));
  });
  return () => {
    child.kill();
    // The first and last samples look at time before and after.
    const inside = rows.slice(2, -1).filter((r) => Number.isFinite(r[0]));
    if (inside.length === 0) return undefined;
    const mean = inside.reduce((sum, r) => sum + r[0], 0) / inside.length;
    return { samples: inside.length, busyPercent: mean, memoryMiB: Math.max(...inside.map((r) => r[1])) };
  };
}

async function encode(stop = Number.POSITIVE_INFINITY) {
  const session = await model.open();
  let tokens = 0;
  let checksum = 0;
  const begun = performance.now();
  for await (const part of runChunks(model, chunksOf(), { session, depth: onGpu ? 2 : 1 })) {
    tokens += part.count;
    checksum += part.features[0] + part.features.at(-1);
    if (tokens >= stop) break;
  }
  session.close();
  return { tokens, seconds: (performance.now() - begun) / 1000, finite: Number.isFinite(checksum) };
}

await encode(8 * model.maxTokens);
let loop = performance.eventLoopUtilization();
let begun = performance.now();
let tokenized = 0;
for await (const { tokens } of chunksOf()) tokenized += tokens;
const tokenizeSeconds = (performance.now() - begun) / 1000;
const tokenizeLoop = performance.eventLoopUtilization(loop).utilization;

// The encoder alone: one chunk again and again, two at a time, so that the device never waits for a tokenizer.
const [first] = [(await chunksOf().next()).value];
const again = Math.max(4, 3 * Math.floor(tokenized / model.maxTokens));
const session = await model.open();
const pending = [];
const stopAlone = onGpu ? watch() : () => undefined;
begun = performance.now();
for (let i = 0; i < again; i++) {
  pending.push(model.run(first.chunk, [session], undefined, true));
  if (pending.length === 2) await pending.shift();
}
await Promise.all(pending);
const encodeSeconds = (((performance.now() - begun) / 1000) * tokenized) / (again * model.maxTokens);
const gpuEncoding = stopAlone();
session.close();

const stop = onGpu ? watch() : () => undefined;
loop = performance.eventLoopUtilization();
const whole = await encode();
const wholeLoop = performance.eventLoopUtilization(loop).utilization;
const gpu = stop();
const result = {
  device: device.describe(),
  date: new Date().toISOString(),
  commit: commitOf(),
  model: { layout: config.stack.layout, width, dtype: onGpu ? "bf16" : "f32", chunkTokens: model.maxTokens },
  mediaSeconds: seconds,
  ...whole,
  tokensPerSecond: whole.tokens / whole.seconds,
  timesRealTime: seconds / whole.seconds,
  stages: { tokenizeAloneSeconds: tokenizeSeconds, encodeAloneSeconds: encodeSeconds, togetherSeconds: whole.seconds },
  // The share of time in which JavaScript ran.
  eventLoop: { tokenizing: tokenizeLoop, together: wholeLoop },
  bytes: { working: model.arenaBytes, statePerSequence: model.stateBytes, residentHost: process.memoryUsage().rss },
  gpuEncoding,
  gpuTogether: gpu,
};
console.log(JSON.stringify(result, null, 1));
if (flags.out) writeFileSync(flags.out, `${JSON.stringify(result, null, 1)}\n`);
logMel.close();
model.close();
await Promise.all([device.close(), frontEnds.close()]);
