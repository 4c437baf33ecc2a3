import { fileURLToPath } from "node:url";
import { openSafetensors } from "@krait/formats";
import type { FrameStream } from "../../src/audio/index.js";
import { melFilterbank } from "../../src/audio/index.js";
import { random } from "../devices.js";

export async function readGolden() {
  const file = await openSafetensors(fileURLToPath(new URL("../fixtures/audio/golden.safetensors", import.meta.url)));
  try {
    const wave = await file.readFloat32("wave16k");
    /** [bins, frames] as [frames, bins]. */
    const frames = async (name: string) => {
      const [bins, count] = file.tensors.get(name)!.shape as [number, number];
      const data = await file.readFloat32(name);
      return Float32Array.from({ length: data.length }, (_, i) => data[(i % bins) * count + Math.floor(i / bins)]!);
    };
    return {
      wave,
      unpadded80: await frames("whisper80.unpadded"),
      padded80: await frames("whisper80.padded30s"),
      unpadded128: await frames("whisper128.unpadded"),
    };
  } finally {
    await file.close();
  }
}

/** Noise with tones and a silent stretch, so that frames differ and the floor is reached. */
export function sound(seed: number, length: number): Float32Array {
  const rng = random(seed);
  return Float32Array.from({ length }, (_, i) => {
    if (i % 4000 > 3000) return 0;
    return 0.3 * Math.sin(i * (0.05 + (i / length) * 0.5)) + 0.02 * (rng() - 0.5);
  });
}

/** log10 mel powers [frames, bins] as the definition says them, plainly, in float64. Bounces back and forth between both ends. */
export function plainLogMel(x: Float32Array, bins: number): Float64Array {
  const mirrored = (at: number): number => {
    let i = at;
    while (i < 0 || i >= x.length) {
      if (x.length === 1) return x[0]!;
      i = i < 0 ? -i : 2 * (x.length - 1) - i;
    }
    return x[i]!;
  };
  const filters = melFilterbank(bins);
  const frames = Math.floor(x.length / 160);
  const out = new Float64Array(frames * bins);
  for (let f = 0; f < frames; f++) {
    const windowed = Float64Array.from({ length: 400 }, (_, n) => {
      return mirrored(f * 160 - 200 + n) * Math.sin((Math.PI * n) / 400) ** 2;
    });
    const power = Float64Array.from({ length: 201 }, (_, k) => {
      let re = 0;
      let im = 0;
      for (let n = 0; n < 400; n++) {
        re += windowed[n]! * Math.cos((2 * Math.PI * k * n) / 400);
        im -= windowed[n]! * Math.sin((2 * Math.PI * k * n) / 400);
      }
      return re * re + im * im;
    });
    for (let b = 0; b < bins; b++) {
      const mel = power.reduce((sum, p, k) => sum + p * filters[b * 201 + k]!, 0);
      out[f * bins + b] = Math.log10(Math.max(mel, 1e-10));
    }
  }
  return out;
}

export function normalized(log: Float64Array, max: number): Float64Array {
  return log.map((v) => (Math.max(v, max - 8) + 4) / 4);
}

/** Pushes cuts of the lengths that `next` gives, and finishes. */
export async function pushAll(stream: FrameStream, x: Float32Array, next: () => number): Promise<Float32Array> {
  const rows: number[] = [];
  for (let at = 0; at < x.length; ) {
    const n = next();
    rows.push(...(await stream.push(x.subarray(at, at + n))));
    at += n;
  }
  rows.push(...(await stream.finish()));
  return Float32Array.from(rows);
}

export async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}
