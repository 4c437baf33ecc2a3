import { expected, throwIfAborted, UsageError } from "@krait/core";
import { spanOf } from "./log-mel-program.js";
import type { MelNormalizer } from "./mel-normalizer.js";
import { fftSize, hopLength, melSampleRate } from "./mel-weights.js";
import { checkSamples } from "./samples.js";

/** Samples that are mirrored before the first, so that frame i is centred on sample i · 160. */
const padding = fftSize / 2;

export interface LogMelStreamOptions {
  /** Seconds of the first sample, for messages. */
  start?: number;
  signal?: AbortSignal | undefined;
}

/** @internal Samples of whole frames to log10 mel powers [frames, melBins]. */
export type MelRun = (signal: Float32Array, abort: AbortSignal | undefined) => Promise<Float32Array>;

/**
 * Log-mel frames of one signal that arrives in pieces; made by `LogMel.stream`. Holds one chunk of samples, whatever the length.
 *
 * Frames are made in chunks counted from the start of the signal, so that the result does not depend on how the samples are cut,
 * to the bit. One call at a time: await each before the next.
 */
export class LogMelStream {
  /** The padded signal from the first sample of the first frame not yet made. */
  private readonly window: Float32Array;
  private filled = padding;
  private received = 0;
  private frames = 0;
  private status: "open" | "running" | "finished" | "broken" = "open";

  /** @internal */
  constructor(
    private readonly run: MelRun,
    private readonly chunkFrames: number,
    private readonly normalizer: MelNormalizer,
    private readonly options: LogMelStreamOptions,
  ) {
    this.window = new Float32Array(spanOf(chunkFrames));
  }

  /** Samples taken in so far. */
  get samples(): number {
    return this.received;
  }

  /** Greatest log10 mel power so far, before normalisation; −∞ at first. After a first pass it is what "exact" divides by. */
  get peak(): number {
    return this.normalizer.peak;
  }

  /** The value of a frame of digital silence at this point. */
  get silence(): number {
    return this.normalizer.silence;
  }

  /**
   * Takes samples (mono, 16 kHz, full scale ±1) and returns the frames [n, melBins] that they complete: none, or whole chunks.
   *
   * @throws InputError (SAMPLES_NOT_FINITE, SAMPLES_TOO_LARGE; the samples are not taken in), UsageError (STREAM_NOT_OPEN), AbortedError
   */
  async push(samples: Float32Array): Promise<Float32Array> {
    this.expectOpen("push()");
    checkSamples(samples, (this.options.start ?? 0) + this.received / melSampleRate);
    return this.exclusively("push()", () => this.take(samples));
  }

  /** The frames that are left [n, melBins]. Mirrors the end of the signal as far as its last frame reaches beyond. */
  finish(): Promise<Float32Array> {
    return this.exclusively("finish()", () => this.takeLast());
  }

  private async take(samples: Float32Array): Promise<Float32Array> {
    const chunks: Float32Array[] = [];
    for (let at = 0; at < samples.length; ) {
      const count = Math.min(this.window.length - this.filled, samples.length - at);
      this.window.set(samples.subarray(at, at + count), this.filled);
      this.filled += count;
      this.received += count;
      at += count;
      if (this.filled === this.window.length) chunks.push(await this.makeFrames(this.chunkFrames));
    }
    return chunks.length === 1 ? chunks[0]! : join(chunks);
  }

  private async takeLast(): Promise<Float32Array> {
    // The transform has one frame per started hop; the definition drops the last.
    const rest = Math.floor(this.received / hopLength) - this.frames;
    if (rest === 0) return new Float32Array(0);
    this.mirror(this.filled, spanOf(rest));
    return this.makeFrames(rest);
  }

  private async makeFrames(count: number): Promise<Float32Array> {
    if (this.frames === 0) this.mirror(0, padding);
    const rows = await this.run(this.window.subarray(0, spanOf(count)), this.options.signal);
    const step = count * hopLength;
    this.window.copyWithin(0, step, this.filled);
    this.filled -= step;
    this.frames += count;
    this.normalizer.apply(rows);
    return rows;
  }

  /** Fills window positions with the samples that lie mirrored at the signal's first or last one. */
  private mirror(from: number, to: number): void {
    const base = this.frames * hopLength - padding;
    for (let at = from; at < to; at++) this.window[at] = this.window[reflect(base + at, this.received) - base]!;
  }

  private async exclusively(what: string, work: () => Promise<Float32Array>): Promise<Float32Array> {
    this.expectOpen(what);
    throwIfAborted(this.options.signal, "the log-mel front end");
    this.status = "running";
    try {
      const rows = await work();
      this.status = what === "finish()" ? "finished" : "open";
      return rows;
    } catch (error) {
      this.status = "broken";
      throw error;
    }
  }

  private expectOpen(what: string): void {
    if (this.status === "open") return;
    throw new UsageError(expected("an open log-mel stream", what, this.status), {
      code: "STREAM_NOT_OPEN",
      hint: this.status === "running" ? "Await the call before." : "Open another stream with LogMel.stream().",
    });
  }
}

/**
 * Index of a mirrored sample; the outermost one is not repeated. A signal shorter than the padding is mirrored over and over, as
 * numpy.pad(mode="reflect") does (torch refuses it).
 */
function reflect(index: number, length: number): number {
  const period = Math.max(1, 2 * (length - 1));
  const at = ((index % period) + period) % period;
  return at < length ? at : period - at;
}

function join(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
