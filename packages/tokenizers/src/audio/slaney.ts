import { parseOptions } from "@krait/core";
import { z } from "zod";
import { whisperGrid } from "./log-mel-stream.js";
import { fftSize, frequencyBins, melWeight, slaneyTriangles, whisperWindow } from "./mel-weights.js";
import type { NormalizationMode } from "./normalization.js";
import type { SpectralDefinition } from "./spectral.js";
import { windowSchema, windowValues } from "./windows.js";

/** Whisper's log-mel spectrogram (openai/whisper, whisper/audio.py); see `LogMel`. `fixedMax` is the log10 power of mode "fixed". */
export function whisperDefinition(
  melBins: 80 | 128,
  { mode = "exact", fixedMax = 1.5 }: { mode?: NormalizationMode | undefined; fixedMax?: number | undefined } = {},
): SpectralDefinition {
  return {
    name: `whisper-${melBins}`,
    grid: whisperGrid,
    bins: melBins,
    spectrum: { window: whisperWindow(), fftSize, frequencies: frequencyBins },
    mel: melWeight(melBins),
    log: { low: 1e-10, scale: Math.LOG10E },
    normalization: { kind: "whisper", mode, fixedMax },
  };
}

export interface ParakeetOptions {
  /** Parakeet's are 80 or 128. */
  melBins?: number | undefined;
  mode?: NormalizationMode | undefined;
  /** Per feature, for mode "fixed"; without them nothing is subtracted and divided, as in NeMo's streaming models ("NA"). */
  mean?: ArrayLike<number> | undefined;
  std?: ArrayLike<number> | undefined;
}

/**
 * The mel features of NeMo's Parakeet, Canary and FastConformer models (nemo, parts/preprocessing/features.py,
 * FilterbankFeatures): pre-emphasis 0.97 over the signal, symmetric Hann of 400 samples in the middle of a transform of 512, centred on
 * each 160th sample with zeros outside, power, librosa's Slaney filters over 0–8000 Hz, ln(x + 2⁻²⁴), then per feature
 * (x − mean) / (std + 1e-5) over the ⌊N / 160⌋ valid frames, std with n − 1. One frame alone gives zeros.
 */
export function parakeetDefinition({
  melBins = 80,
  mode = "exact",
  mean,
  std,
}: ParakeetOptions = {}): SpectralDefinition {
  const [size, fftSize, frequencies] = [400, 512, 257];
  return {
    name: `parakeet-${melBins}`,
    // Of the 512 samples the window leaves the middle 400, so the frame is those: shifting it turns phases only.
    grid: { ...whisperGrid, size, before: size / 2, beyond: "zero", preEmphasis: 0.97 },
    bins: melBins,
    spectrum: { window: Float32Array.from(windowValues("hanning", size, "symmetric")), fftSize, frequencies },
    mel: Float32Array.from(slaneyTriangles({ melBins, sampleRate: 16000, fftSize })),
    offset: 2 ** -24,
    log: { low: 0, scale: 1 },
    normalization: { kind: "features", mode, epsilon: 1e-5, mean, std },
  };
}

export const melOptionsSchema = z.strictObject({
  melBins: z.number().int().min(1).max(512).default(80),
  /** Hertz. */
  sampleRate: z.number().int().min(1000).max(384000).default(16000),
  /** Samples: of the window, of the transform (at least the window), between frames (at most the window). */
  windowSize: z.number().int().min(2).max(65536).default(400),
  fftSize: z.number().int().min(2).max(65536).default(512),
  hop: z.number().int().min(1).max(65536).default(160),
  /** Periodic, as for spectral analysis. */
  window: windowSchema.default("hanning"),
  /** Hertz. */
  lowHertz: z.number().min(0).default(0),
  highHertz: z.number().positive().optional(),
  /** Frame i on sample i · hop with the signal mirrored at both ends, or whole frames from the first sample on. */
  centred: z.boolean().default(true),
  /** ln, log10, decibels (10 · log10), or the powers themselves. */
  log: z.enum(["ln", "log10", "decibel", "none"]).default("ln"),
  /** Least power that counts. */
  floor: z.number().positive().default(1e-10),
});
export type MelOptions = z.input<typeof melOptionsSchema>;

/**
 * A plain mel spectrogram, librosa.feature.melspectrogram with Slaney's filters (power 2), and its logarithm; no normalisation. Centred it has
 * 1 + ⌊N / hop⌋ frames. Throws `UsageError` (INVALID_OPTION).
 */
export function melDefinition(given: MelOptions = {}): SpectralDefinition {
  const options = parseOptions(melOptionsSchema, given, "melDefinition()");
  const { melBins, sampleRate, windowSize: size, hop, fftSize, centred } = options;
  parseOptions(z.number().max(size), hop, "melDefinition() hop");
  parseOptions(z.number().min(size), fftSize, "melDefinition() fftSize");
  const high = options.highHertz ?? sampleRate / 2;
  parseOptions(
    z
      .number()
      .gt(options.lowHertz)
      .max(sampleRate / 2),
    high,
    "melDefinition() highHertz",
  );
  const frequencies = Math.floor(fftSize / 2) + 1;
  const scale = { ln: 1, log10: Math.LOG10E, decibel: 10 * Math.LOG10E, none: 0 }[options.log];
  const before = Math.floor(fftSize / 2) - Math.floor((fftSize - size) / 2);
  return {
    name: `mel-${melBins}`,
    grid: {
      sampleRate,
      size,
      hop,
      ...(centred
        ? { before, beyond: "reflect", frames: (n) => (n === 0 ? 0 : 1 + Math.floor(n / hop)) }
        : { before: 0, beyond: "none", frames: (n) => (n < size ? 0 : 1 + Math.floor((n - size) / hop)) }),
    },
    bins: melBins,
    spectrum: { window: Float32Array.from(windowValues(options.window, size, "periodic")), fftSize, frequencies },
    mel: Float32Array.from(
      slaneyTriangles({ melBins, sampleRate, fftSize, lowHertz: options.lowHertz, highHertz: high }),
    ),
    log: options.log === "none" ? undefined : { low: options.floor, scale },
    normalization: { kind: "none" },
  };
}
