import type { FeatureChunk, ReportMeta, VideoFrame } from "../src/report/index.js";

/** Repeatable pseudo-random numbers in [0, 1) (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Scenes of a made-up film: where each begins and which place it shows. Places come back. */
export function scenes(duration: number, seed = 3): { start: number; place: number }[] {
  const next = random(seed);
  const out: { start: number; place: number }[] = [];
  for (let start = 0, place = 0; start < duration; start += (duration / 18) * (0.4 + 1.2 * next())) {
    out.push({ start, place });
    place = (place + 1 + Math.floor(next() * 4)) % 6;
  }
  return out;
}

export function placeAt(list: { start: number; place: number }[], time: number): number {
  return list.findLast(({ start }) => start <= time)?.place ?? 0;
}

const PLACES: [number, number, number][] = [
  [52, 92, 140],
  [188, 120, 64],
  [70, 118, 80],
  [150, 66, 76],
  [222, 196, 150],
  [58, 52, 78],
];

/** A frame with a sky, a floor and a moving disc in the colours of its scene. */
export function frame(time: number, place: number, width = 320, height = 180): VideoFrame {
  const [r, g, b] = PLACES[place]!;
  const pixels = new Uint8Array(width * height * 3);
  const cx = width * (0.5 + 0.35 * Math.sin(time * 0.7 + place));
  const cy = height * (0.55 + 0.12 * Math.cos(time * 0.5));
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at += 3) {
      const light = y > height * 0.7 ? 0.55 : 0.75 + (0.45 * y) / height;
      const disc = Math.hypot(x - cx, y - cy) < height * 0.16 ? 70 : 0;
      pixels[at] = Math.min(255, r * light + disc);
      pixels[at + 1] = Math.min(255, g * light + disc);
      pixels[at + 2] = Math.min(255, b * light + disc * 0.8);
    }
  return { pixels, width, height, start: time, end: time + 0.5 };
}

/** A second of something with the envelope of speech: syllables, phrases, pauses. */
export function speech(second: number, sampleRate = 16_000): Float32Array {
  const next = random(second * 7919 + 1);
  const phrase = Math.sin(second * 0.9) + Math.sin(second * 0.37 + 1) > -0.7 ? 1 : 0.03;
  const loud = phrase * (0.35 + 0.5 * next());
  return Float32Array.from({ length: sampleRate }, (_, i) => {
    const t = i / sampleRate;
    const syllable = Math.max(0.04, Math.sin(2 * Math.PI * (2 + (second % 3)) * t + second)) ** 1.5;
    return (
      loud * syllable * (0.7 * Math.sin(2 * Math.PI * 140 * t) + 0.3 * (2 * next() - 1)) * (next() > 0.5 ? 1 : 0.8)
    );
  });
}

/** Encoder output for `seconds` of the film from `from` on: 8 patches twice a second, 12.5 audio tokens a second, separators. */
export function features(
  from: number,
  seconds: number,
  dim: number,
  list: { start: number; place: number }[],
): FeatureChunk {
  const next = random(Math.round(from * 1000) + 17);
  const rows: number[] = [];
  const start: number[] = [];
  const end: number[] = [];
  const modality: number[] = [];
  const token = (code: number, a: number, b: number, seed: number) => {
    const own = random(seed);
    for (let d = 0; d < dim; d++) {
      const drift = 0.5 * Math.sin(a * 0.05 + d);
      rows.push(1.2 * Math.sin(d * 1.7) + (own() - 0.5) * 1.6 + drift * 0.4 + (next() - 0.5) * 0.7);
    }
    start.push(a);
    end.push(b);
    modality.push(code);
  };
  for (let t = from; t < from + seconds - 1e-9; t += 0.5)
    for (let patch = 0; patch < 8; patch++) token(2, t, t + 0.5, 100 + placeAt(list, t));
  token(255, from + seconds, from + seconds, 1);
  for (let i = 0; i < seconds * 12.5; i++) {
    const t = from + i * 0.08;
    const speaking = Math.sin(Math.floor(t) * 0.9) + Math.sin(Math.floor(t) * 0.37 + 1) > -0.7;
    token(1, t, t + 0.08, speaking ? 200 + (placeAt(list, t) % 3) : 300);
  }
  return {
    features: Float32Array.from(rows),
    start: Float64Array.from(start),
    end: Float64Array.from(end),
    modality: Uint8Array.from(modality),
  };
}

/** Untimed text tokens at one point. */
export function textTokens(count: number, at: number, dim: number): FeatureChunk {
  const next = random(5);
  return {
    features: Float32Array.from({ length: count * dim }, (_, i) => Math.sin((i % dim) * 1.7) + next() - 0.5),
    start: new Float64Array(count).fill(at),
    end: new Float64Array(count).fill(at),
    modality: new Uint8Array(count),
  };
}

export const meta: ReportMeta = {
  sources: [
    { name: "harbour-walk.mp4", kind: "video", durationSeconds: 252.4, details: "h264 1280×720, 25 fps" },
    {
      name: "harbour-walk.mp4",
      kind: "audio",
      durationSeconds: 252.4,
      details: "aac 48 kHz stereo, mixed to mono 16 kHz",
    },
    { name: "notes.txt", kind: "text", details: "UTF-8" },
  ],
  model: { name: "built-in", random: true, seed: 0, layout: "(M2 M2 M2 A)x2", parameters: 9_640_000 },
  device: "cpu, 8 threads",
  elapsedSeconds: 31.2,
  options: { fps: 2, tubelet: [2, 16, 16], windowSeconds: 2, tokensPerSecond: 12.5, device: "auto", dtype: "f32" },
  version: "0.1.0",
  createdAt: "2025-01-02 10:20 UTC",
};
