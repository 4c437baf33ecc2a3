import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Resampler } from "../src/index.js";
import { relativeError } from "./helpers.js";

/** Quarter seconds of 8, 22.05, 44.1 and 48 kHz and what torchaudio's sinc_interp_hann (64 zero crossings) made of the whole. */
function fixture(name: string): Float32Array {
  const bytes = readFileSync(new URL("fixtures/resample.safetensors", import.meta.url));
  const size = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + size)) as Record<string, { data_offsets: [number, number] }>;
  const [begin, end] = header[name]!.data_offsets;
  return new Float32Array(Uint8Array.from(bytes.subarray(8 + size + begin, 8 + size + end)).buffer);
}

function whole(from: number, to: number, input: Float32Array): Float32Array {
  const resampler = new Resampler(from, to);
  return Float32Array.from([...resampler.push(input), ...resampler.flush()]);
}

function noise(length: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

describe("resampling", () => {
  test.each([8000, 22050, 44100, 48000])("%d Hz to 16 kHz equals the reference", (rate) => {
    const out = whole(rate, 16000, fixture(`wave${rate}`));
    // The reference heard on after the quarter second: its last outputs differ.
    const reference = fixture(`resampled${rate}`);
    expect(reference).toHaveLength(3900);
    expect(relativeError(out, reference)).toBeLessThan(1e-4);
  });

  test.each([
    [8000, 16000],
    [44100, 16000],
    [48000, 16000],
    [16000, 16000],
    [44101, 16000],
    [11025, 16000],
  ])("%d to %d: any cutting gives the same bits, and the length is ⌈n · to / from⌉", (from, to) => {
    const input = noise(5000);
    const expected = whole(from, to, input);
    expect(expected).toHaveLength(Math.ceil((5000 * to) / from));
    for (const step of [1, 7, 640, 4999]) {
      if (step === 1 && from === 44101) continue;
      const resampler = new Resampler(from, to);
      const out: number[] = [];
      for (let i = 0; i < input.length; i += step) out.push(...resampler.push(input.subarray(i, i + step)));
      out.push(...resampler.flush());
      expect(Float32Array.from(out)).toEqual(expected);
    }
  });

  test("silence lies beyond both ends", () => {
    const input = noise(2000);
    const padded = new Float32Array(6000);
    padded.set(input, 2000);
    const alone = whole(8000, 16000, input);
    const inside = whole(8000, 16000, padded).subarray(4000, 8000);
    expect(relativeError(alone, inside)).toBeLessThan(1e-6);
  });

  test("a tone above the new Nyquist frequency is gone, one below keeps its level", () => {
    const tone = (hertz: number) =>
      Float32Array.from({ length: 48000 }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / 48000));
    const level = (hertz: number) => {
      const out = whole(48000, 16000, tone(hertz)).subarray(500, 15500);
      return Math.sqrt(out.reduce((sum, value) => sum + value * value, 0) / out.length) * Math.SQRT2;
    };
    expect(level(1000)).toBeCloseTo(1, 3);
    expect(level(7000)).toBeCloseTo(1, 2);
    expect(level(9000)).toBeLessThan(1e-3);
    expect(level(15000)).toBeLessThan(1e-3);
  });

  test("nothing in, nothing out", () => {
    const resampler = new Resampler(44100, 16000);
    expect(resampler.push(new Float32Array(0))).toHaveLength(0);
    expect(resampler.flush()).toHaveLength(0);
  });
});
