import { expected, InputError, UsageError } from "@krait/core";

/** Unscaled 32-bit integers still pass; squares of what lies beyond soon leave float32. */
const maxSample = 2 ** 31;

/**
 * Refuses what would spread through all later features.
 *
 * @param time seconds, of the first sample
 * @param sampleRate hertz
 * @throws UsageError (INVALID_OPTION), InputError (SAMPLES_NOT_FINITE, SAMPLES_TOO_LARGE) naming the time
 */
export function checkSamples(samples: Float32Array, time: number, sampleRate = 16000): void {
  if (!(samples instanceof Float32Array)) {
    throw new UsageError(expected("a Float32Array", "samples", samples), {
      code: "INVALID_OPTION",
      hint: "Give mono samples, full scale ±1.",
    });
  }
  for (let i = 0; i < samples.length; i++) {
    const value = samples[i]!;
    if (Math.abs(value) <= maxSample) continue;
    const at = `the audio at ${(time + i / sampleRate).toFixed(4)} s`;
    if (Number.isFinite(value)) {
      throw new InputError(expected("samples of at most 2^31", at, value), {
        code: "SAMPLES_TOO_LARGE",
        hint: "Full scale is ±1: the samples were decoded as another format than they are stored in.",
      });
    }
    throw new InputError(expected("finite samples", at, value), {
      code: "SAMPLES_NOT_FINITE",
      hint: "Export the audio again as 16-bit or 24-bit PCM.",
    });
  }
}
