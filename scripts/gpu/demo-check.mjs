// The demo's encoder on stored frames and samples: CUDA against the CPU in float32.
import { openSafetensors } from "../../packages/formats/dist/index.js";
import { assembleChunks } from "../../packages/krait/dist/assemble.js";
import { builtInConfig } from "../../packages/krait/dist/random-encoder.js";
import { EncoderModel, seededWeights } from "../../packages/nn/dist/index.js";
import { relativeRms } from "../../packages/runtime/dist/conformance/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";
import {
  audioTokenSource,
  createLogMel,
  createTextTokenizer,
  interleave,
  textSource,
  videoTokenSource,
} from "../../packages/tokenizers/dist/index.js";

const SEED = 0;
const CHUNK = 2048;

async function loadStored(path) {
  const file = await openSafetensors(path);
  const stored = {};
  for (const name of file.tensors.keys()) stored[name] = await file.read(name);
  await file.close();
  return stored;
}

async function* frameParts({ frames, times }) {
  const bytes = 224 * 224 * 3;
  for (let i = 0; i * bytes < frames.length; i++) {
    const pixels = frames.subarray(i * bytes, (i + 1) * bytes);
    yield { kind: "video", pixels, width: 224, height: 224, start: times[2 * i], end: times[2 * i + 1] };
  }
}

async function* sampleParts({ samples }) {
  const step = 1600;
  for (let at = 0; at < samples.length; at += step) {
    yield { kind: "audio", samples: samples.subarray(at, at + step), sampleRate: 16000, start: at / 16000 };
  }
}

/** Features of the whole stored input, every part of the way on one device. */
async function encode(kind, dtype, stored) {
  const device = await openDevice({ device: kind });
  try {
    const model = await EncoderModel.create(device, builtInConfig, seededWeights(SEED), { dtype, maxTokens: CHUNK });
    const logMel = await createLogMel(device, { melBins: 80, normalization: "fixed" });
    const tokenizer = await createTextTokenizer({ kind: "bytes" });
    const sources = [
      textSource(tokenizer, new TextDecoder().decode(stored.text)),
      videoTokenSource({ parts: frameParts(stored), width: 224, height: 224, patch: 16, tubelet: 2 }),
      audioTokenSource({ parts: sampleParts(stored), logMel, stack: 8 }),
    ];
    const session = await model.open();
    const parts = [];
    const begun = performance.now();
    for await (const { chunk } of assembleChunks(interleave(sources), builtInConfig, CHUNK)) {
      parts.push(await model.run(chunk, [session]));
    }
    return { features: Float32Array.from(parts.flatMap((p) => [...p])), dim: model.dim, ms: performance.now() - begun };
  } finally {
    await device.close();
  }
}

export async function checkDemo(path) {
  const stored = await loadStored(path);
  const cpu = await encode("cpu", "f32", stored);
  const rows = [];
  for (const [dtype, bound] of [
    ["f32", 1e-5],
    ["bf16", 2e-2],
  ]) {
    const cuda = await encode("cuda", dtype, stored);
    const error = relativeRms(cuda.features, cpu.features);
    rows.push({
      id: `demo_encoder/${dtype}`,
      tokens: cpu.features.length / cpu.dim,
      error,
      bound,
      cudaMs: cuda.ms,
      cpuMs: cpu.ms,
    });
  }
  return rows;
}
