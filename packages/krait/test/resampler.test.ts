import { Resampler } from "@krait/media";
import { polyphase } from "@krait/runtime";
import { describe, expect, it } from "vitest";

const noise = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * i * 0.37) * Math.cos(i * 0.11));

function resampled(resampler: Resampler, input: Float32Array, step: number): Float32Array {
  const out: number[] = [];
  for (let i = 0; i < input.length; i += step) out.push(...resampler.push(input.subarray(i, i + step)));
  out.push(...resampler.flush());
  return Float32Array.from(out);
}

const rates = [8000, 11025, 22050, 44100, 48000, 96000];

describe("the native resampler", () => {
  it.each(rates)("gives what TypeScript gives, from %i Hz", (rate) => {
    // Fewer samples than a filter reaches over, a few filters, many.
    for (const length of [1, 100, 1000, 30_000]) {
      const input = noise(length);
      const plain = resampled(new Resampler(rate, 16000), input, length);
      const native = resampled(new Resampler(rate, 16000, { polyphase }), input, length);
      expect(native).toHaveLength(plain.length);
      // One rounding to float32 of numbers of about 1.
      for (const [i, value] of native.entries()) expect(Math.abs(value - plain[i]!)).toBeLessThan(1.2e-7);
    }
  });

  it.each(rates)("gives the same bits however the signal is cut, from %i Hz", (rate) => {
    const input = noise(6000);
    const whole = resampled(new Resampler(rate, 16000, { polyphase }), input, input.length);
    for (const step of [1, 7, 639, 5999]) {
      expect(resampled(new Resampler(rate, 16000, { polyphase }), input, step)).toEqual(whole);
    }
  });

  it("refuses a phase that no filter has", () => {
    const call = (up: number, phase: number) => () =>
      polyphase(new Float32Array(9), new Float64Array(12), new Float32Array(4), { up, down: 2, phase, base: 0 });
    expect(call(3, 3)).toThrow(expect.objectContaining({ code: "INVALID_RUN" }));
    expect(call(3, -1)).toThrow(expect.objectContaining({ code: "INVALID_RUN" }));
    expect(call(0, 0)).toThrow(expect.objectContaining({ code: "INVALID_RUN" }));
    expect(call(13, 0)).toThrow(expect.objectContaining({ code: "INVALID_RUN" }));
  });
});
