// Stores what the decoder makes of a clip, and a text, so that a machine without ffmpeg can encode the very same frames and
// samples: node scripts/store-demo-input.mjs CLIP TEXT OUT.safetensors [SECONDS]
import { writeSafetensors } from "../packages/formats/dist/index.js";
import { decode } from "../packages/media/dist/index.js";
import { readTextSource } from "../packages/tokenizers/dist/index.js";

const [clip, textFile, out, seconds = "40"] = process.argv.slice(2);
const frames = [];
const times = [];
const samples = [];
const stream = decode(clip, {
  video: { sampling: { fps: 2 }, width: 224, height: 224, fit: "cover" },
  audio: { sampleRate: 16000 },
  start: 0,
  end: Number(seconds),
});
for await (const part of stream) {
  if (part.kind === "video") {
    frames.push(part.pixels);
    times.push(part.start, part.end);
  } else samples.push(part.samples);
}
const text = new TextEncoder().encode(await readTextSource({ file: textFile }));
await writeSafetensors(out, {
  frames: { dtype: "u8", shape: [frames.length, 224, 224, 3], data: new Uint8Array(Buffer.concat(frames)) },
  times: { dtype: "f64", shape: [frames.length, 2], data: Float64Array.from(times) },
  samples: {
    dtype: "f32",
    shape: [samples.reduce((n, s) => n + s.length, 0)],
    data: Float32Array.from(samples.flatMap((s) => [...s])),
  },
  text: { dtype: "u8", shape: [text.length], data: text },
});
