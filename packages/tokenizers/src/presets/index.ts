import {
  astDefinition,
  kaldiDefinition,
  melDefinition,
  type NormalizationMode,
  parakeetDefinition,
  type SpectralDefinition,
  seamlessDefinition,
  whisperDefinition,
} from "../audio/index.js";
import { type ImagePreset, type ImageProcessorOptions, imagePreset } from "../vision/index.js";

interface Named {
  readonly name: string;
  /** One line for lists. */
  readonly about: string;
}

export interface AudioPreset extends Named {
  readonly modality: "audio";
  /** @param mode for those with a choice; the others ignore it */
  definition(mode?: NormalizationMode): SpectralDefinition;
}

export interface VisionPreset extends Named {
  readonly modality: "image";
  /** Rows are one frame each, or the merged patches of `frames` frames. */
  readonly rows: "frame" | { readonly frames: number; readonly patch: number; readonly merge: number };
  /** @param size pixels; sets resize and crop */
  options(size?: number): ImageProcessorOptions;
}

export interface TextPreset extends Named {
  readonly modality: "text";
  readonly needsTokenizer: boolean;
}

export type FrontEndPreset = AudioPreset | VisionPreset | TextPreset;

const audio = (name: string, about: string, definition: AudioPreset["definition"]): AudioPreset => ({
  name,
  about,
  modality: "audio",
  definition,
});
const image = (name: ImagePreset, about: string): VisionPreset => ({
  name,
  about,
  modality: "image",
  rows: "frame",
  options: (size) => imagePreset(name, size),
});

/** Qwen2-VL's processor: the image's own shape within a budget of pixels. A size makes it a square instead. */
function qwenOptions(size?: number): ImageProcessorOptions {
  const { mean, std } = imagePreset("clip");
  const fit =
    size === undefined
      ? ({ kind: "budget", factor: 28, minPixels: 56 * 56, maxPixels: 28 * 28 * 1280 } as const)
      : ({ kind: "exact", width: size, height: size } as const);
  return { fit, filter: "bicubic", mean: mean!, std: std! };
}

/** The published front ends by name. */
export const frontEndPresets: readonly FrontEndPreset[] = [
  audio("whisper-80", "Whisper log-mel, 80 bins, 100 frames/s; exact, fixed or running maximum", (mode) =>
    whisperDefinition(80, { mode }),
  ),
  audio("whisper-128", "Whisper large-v3 log-mel, 128 bins, 100 frames/s; exact, fixed or running maximum", (mode) =>
    whisperDefinition(128, { mode }),
  ),
  audio("kaldi-hanning-128", "Kaldi fbank, Hann window, 128 bins, samples in ±1", () =>
    kaldiDefinition({ melBins: 128, window: "hanning" }, "kaldi-hanning-128"),
  ),
  audio("kaldi-povey-80", "Kaldi fbank, its defaults, 80 bins, samples times 32768", () =>
    kaldiDefinition({ gain: 32768 }, "kaldi-povey-80"),
  ),
  audio("ast", "Audio Spectrogram Transformer, Audio Mamba: 1024 frames of 128 bins, normalised", () =>
    astDefinition(),
  ),
  audio("seamless-80", "SeamlessM4T, wav2vec2-BERT: Kaldi fbank, standardised per bin; exact or running", (mode) =>
    seamlessDefinition(mode === undefined ? {} : { mode }),
  ),
  audio("parakeet-80", "NeMo Parakeet, Canary: 80 bins, standardised per bin; exact, fixed (none) or running", (mode) =>
    parakeetDefinition({ melBins: 80, mode }),
  ),
  audio(
    "parakeet-128",
    "NeMo Parakeet v2 and later: 128 bins, standardised per bin; exact, fixed (none) or running",
    (mode) => parakeetDefinition({ melBins: 128, mode }),
  ),
  audio("mel-80", "plain mel, 80 bins, natural logarithm, no normalisation", () => melDefinition()),
  image("clip", "CLIP: short side 224 bicubic, centre crop, OpenAI's mean and std"),
  image("siglip", "SigLIP: stretched to 224 bicubic, -1 to 1"),
  image("vit", "ViT: stretched to 224 bilinear, -1 to 1"),
  image("videomae", "VideoMAE: short side 224 bilinear, centre crop, -1 to 1"),
  image("vivit", "ViViT: short side 256 bilinear, centre crop 224, -3 to 1"),
  image("videomamba", "VideoMamba: short side 224 bilinear, centre crop, ImageNet's mean and std"),
  {
    name: "qwen2-vl",
    about: "Qwen2-VL: own shape within a budget, pairs of frames, rows are patches of 14 in 2 x 2 blocks",
    modality: "image",
    rows: { frames: 2, patch: 14, merge: 2 },
    options: qwenOptions,
  },
  { name: "text", about: "ids of a tokenizer.json (--tokenizer)", modality: "text", needsTokenizer: true },
  { name: "bytes", about: "ids of plain UTF-8 bytes", modality: "text", needsTokenizer: false },
];
