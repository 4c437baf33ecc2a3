import { type FrameGrid, type FrameRun, FrameStream, type FrameStreamOptions } from "./frame-stream.js";
import type { MelNormalizer } from "./mel-normalizer.js";
import { fftSize, hopLength, melSampleRate } from "./mel-weights.js";

export type LogMelStreamOptions = FrameStreamOptions;

/**
 * Whisper's frames: frame i is centred on sample i · 160, the signal mirrored at both ends. The transform has one frame per started
 * hop; the definition drops the last.
 */
export const whisperGrid: FrameGrid = {
  sampleRate: melSampleRate,
  size: fftSize,
  hop: hopLength,
  before: fftSize / 2,
  beyond: "reflect",
  frames: (samples) => Math.floor(samples / hopLength),
};

/** Log-mel frames of one signal that arrives in pieces; made by `LogMel.stream`. */
export class LogMelStream extends FrameStream {
  private readonly levels: MelNormalizer;

  /** @internal */
  constructor(
    bins: number,
    run: FrameRun,
    chunkFrames: number,
    normalizer: MelNormalizer,
    options: LogMelStreamOptions,
  ) {
    super("the log-mel front end", whisperGrid, bins, run, chunkFrames, normalizer, options);
    this.levels = normalizer;
  }

  /** Greatest log10 mel power so far, before normalisation; −∞ at first. After a first pass it is what "exact" divides by. */
  get peak(): number {
    return this.levels.peak;
  }

  /** The value of a frame of digital silence at this point. */
  get silence(): number {
    return this.levels.silence;
  }
}
