import { parseOptions } from "@krait/core";
import { z } from "zod";
import type { MelNormalization, NormalizationMode } from "./normalization.js";
import type { SpectralDefinition } from "./spectral.js";
import { windowSchema, windowValues } from "./windows.js";

export const kaldiOptionsSchema = z.strictObject({
  melBins: z.number().int().min(1).max(512).default(80),
  /** Hertz. */
  sampleRate: z.number().int().min(1000).max(384000).default(16000),
  /** Seconds of a frame, and between the starts of two. */
  frameLength: z.number().positive().max(1).default(0.025),
  frameShift: z.number().positive().max(1).default(0.01),
  window: windowSchema.default("povey"),
  /** Subtracts each frame's mean. */
  removeDc: z.boolean().default(true),
  /** Within each frame, whose first sample is its own predecessor. 0 for none. */
  preEmphasis: z.number().min(0).max(1).default(0.97),
  /** Hertz; 0 or less counts from the Nyquist frequency. */
  lowHertz: z.number().min(0).default(20),
  highHertz: z.number().default(0),
  /** Whole frames only; otherwise one per shift, with the signal mirrored at both ends. */
  snipEdges: z.boolean().default(true),
  /** Pads frames to a power of two for the transform. */
  roundToPowerOfTwo: z.boolean().default(true),
  log: z.boolean().default(true),
  /** Multiplies the samples: 32768 for models trained on 16-bit integers. */
  gain: z
    .number()
    .positive()
    .max(2 ** 31)
    .default(1),
  /** Subtracts each feature's mean over the signal; "exact" takes two passes. */
  subtractMean: z.enum(["exact", "running"]).optional(),
});
export type KaldiOptions = z.input<typeof kaldiOptionsSchema>;

/** Least power that counts, float32's epsilon. */
const floor = 1.1920928955078125e-7;

/**
 * Kaldi's filterbank features, as torchaudio.compliance.kaldi.fbank defines them, without dither, energy column and magnitudes:
 * per frame the mean goes, pre-emphasis, a symmetric window, zeros behind up to a power of two, power spectrum, triangles that are straight
 * in mel (1127 · ln(1 + f / 700)), ln(max(·, 1.19e-7)). Frames [1 + ⌊(N − 400) / 160⌋] at 16 kHz.
 *
 * Frame i is given the times [i, i + 1) · frameShift after the first sample's. Throws `UsageError` (INVALID_OPTION).
 */
export function kaldiDefinition(given: KaldiOptions = {}, name = "kaldi-fbank"): SpectralDefinition {
  const options = parseOptions(kaldiOptionsSchema, given, "kaldiDefinition()");
  const { sampleRate, melBins, log } = options;
  // torchaudio cuts to whole samples; the small sum mends products such as 0.025 · 44,100 = 1102.4999….
  const size = Math.floor(sampleRate * options.frameLength + 1e-6);
  const hop = Math.floor(sampleRate * options.frameShift + 1e-6);
  parseOptions(z.number().min(2), size, "kaldiDefinition() frameLength in samples");
  parseOptions(z.number().min(1).max(size), hop, "kaldiDefinition() frameShift in samples");
  const fftSize = options.roundToPowerOfTwo ? 2 ** Math.ceil(Math.log2(size)) : size;
  // The Nyquist column of the filters is zero: it is left out.
  const frequencies = Math.floor(fftSize / 2);
  // What is done to a frame before the window is linear in it, so the gain may come last.
  const window = windowValues(options.window, size, "symmetric").map((w) => options.gain * w);
  const filters = kaldiFilterbank({ ...options, fftSize, frequencies });
  const normalization: MelNormalization = options.subtractMean
    ? { kind: "features", mode: options.subtractMean, epsilon: 0, meanOnly: true }
    : { kind: "none" };
  return {
    name,
    grid: {
      sampleRate,
      size,
      hop,
      ...(options.snipEdges
        ? { before: 0, beyond: "none", frames: (n) => (n < size ? 0 : 1 + Math.floor((n - size) / hop)) }
        : {
            before: Math.max(0, Math.floor(size / 2) - Math.floor(hop / 2)),
            beyond: "symmetric",
            frames: (n) => Math.floor((n + Math.floor(hop / 2)) / hop),
          }),
    },
    bins: melBins,
    spectrum: {
      window: Float32Array.from(window),
      fftSize,
      frequencies,
      removeMean: options.removeDc,
      preEmphasis: options.preEmphasis,
    },
    mel: Float32Array.from(filters),
    log: log ? { low: floor, scale: 1 } : undefined,
    normalization,
  };
}

const mel = (hertz: number) => 1127 * Math.log(1 + hertz / 700);

interface FilterShape {
  melBins: number;
  sampleRate: number;
  lowHertz: number;
  highHertz: number;
  fftSize: number;
  frequencies: number;
}

/** Triangles [melBins, frequencies], evenly spaced and straight in mel, of height 1. */
export function kaldiFilterbank({ melBins, sampleRate, lowHertz, highHertz, fftSize, frequencies }: FilterShape) {
  const nyquist = sampleRate / 2;
  const high = highHertz > 0 ? highHertz : nyquist + highHertz;
  parseOptions(z.number().gt(lowHertz).max(nyquist), high, "kaldiDefinition() highHertz");
  const step = (mel(high) - mel(lowHertz)) / (melBins + 1);
  const weights = new Float64Array(melBins * frequencies);
  for (let m = 0; m < melBins; m++) {
    const left = mel(lowHertz) + m * step;
    for (let k = 0; k < frequencies; k++) {
      const at = mel((k * sampleRate) / fftSize);
      weights[m * frequencies + k] = Math.max(0, Math.min((at - left) / step, (left + 2 * step - at) / step));
    }
  }
  return weights;
}

/**
 * The features of the Audio Spectrogram Transformer and of Audio Mamba (YuanGong/ast; transformers' ASTFeatureExtractor): Kaldi's
 * filterbank, Hann window, 128 bins, samples in ±1, padded with zeros or cut to 1024 frames, then (x + 4.2677393) / (2 · 4.5689974), padding
 * included.
 */
export function astDefinition({
  frames = 1024,
  mean = -4.2677393,
  std = 4.5689974,
}: {
  frames?: number;
  mean?: number;
  std?: number;
} = {}): SpectralDefinition {
  const fbank = kaldiDefinition({ melBins: 128, window: "hanning" }, "ast");
  return { ...fbank, grid: { ...fbank.grid, fixedFrames: frames }, normalization: { kind: "scale", mean, std } };
}

/**
 * The rows of SeamlessM4T's and wav2vec2-BERT's feature extractors before they are joined by twos: Kaldi's filterbank of samples times 32768, then
 * per feature (x − mean) / √(variance + 1e-7), variance with n − 1.
 */
export function seamlessDefinition({ mode = "exact" }: { mode?: NormalizationMode } = {}): SpectralDefinition {
  const fbank = kaldiDefinition({ gain: 32768 }, "seamless-80");
  return { ...fbank, normalization: { kind: "features", mode, epsilon: 1e-7, inside: true } };
}
