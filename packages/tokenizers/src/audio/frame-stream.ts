import { expected, throwIfAborted, UsageError } from "@krait/core";
import { checkSamples } from "./samples.js";

/**
 * How frames lie on a signal, in samples. Frame i begins at i · hop − before, so it may reach beyond both ends; what lies there is
 * `beyond`: "none" (no frame reaches so far), "zero", "reflect" (mirrored at the outermost sample, which is not repeated) or
 * "symmetric" (mirrored beyond it, so that it is).
 */
export interface FrameGrid {
  readonly sampleRate: number;
  /** Samples of a frame, at least `hop`. */
  readonly size: number;
  readonly hop: number;
  readonly before: number;
  readonly beyond: "none" | "zero" | "reflect" | "symmetric";
  /** Frames of a signal of so many samples. */
  frames(samples: number): number;
  /** y[n] = x[n] − c · x[n − 1] over the whole signal, x[−1] = 0, before it is framed. */
  readonly preEmphasis?: number;
  /** Exactly so many frames come out: the first ones, and rows of zeros (before the normalisation) where the signal is shorter. */
  readonly fixedFrames?: number;
}

/** @internal The samples of whole frames to rows of features [frames, bins]. */
export type FrameRun = (signal: Float32Array, abort: AbortSignal | undefined) => Promise<Float32Array>;

/** Finishes rows [n, bins] in place, in order of time. */
export interface RowNormalizer {
  apply(rows: Float32Array): void;
}

export interface FrameStreamOptions {
  /** Seconds of the first sample, for messages. */
  start?: number;
  signal?: AbortSignal | undefined;
}

/** Samples that so many frames reach over. */
export function frameSpan({ size, hop }: Pick<FrameGrid, "size" | "hop">, frames: number): number {
  return (frames - 1) * hop + size;
}

/**
 * Frames of one signal that arrives in pieces. Holds one chunk of samples, whatever the length.
 *
 * Frames are made in chunks counted from the start of the signal, so that the result does not depend on how the samples are cut,
 * to the bit. One call at a time: await each before the next.
 */
export class FrameStream {
  /** The signal from the first sample of the first frame not yet made. */
  private readonly window: Float32Array;
  private filled: number;
  private received = 0;
  private frames = 0;
  private previous = 0;
  private status: "open" | "running" | "finished" | "broken" = "open";

  /** @internal */
  constructor(
    private readonly what: string,
    private readonly grid: FrameGrid,
    /** Features of a row. */
    private readonly bins: number,
    private readonly run: FrameRun,
    private readonly chunkFrames: number,
    private readonly normalizer: RowNormalizer,
    private readonly options: FrameStreamOptions,
  ) {
    this.window = new Float32Array(frameSpan(grid, chunkFrames));
    this.filled = grid.before;
  }

  private get limit(): number {
    return this.grid.fixedFrames ?? Number.POSITIVE_INFINITY;
  }

  /** Samples taken in so far. */
  get samples(): number {
    return this.received;
  }

  /**
   * Takes samples (mono, at the front end's rate, full scale ±1) and returns the rows [n, bins] that they complete: none, or whole chunks.
   *
   * @throws InputError (SAMPLES_NOT_FINITE, SAMPLES_TOO_LARGE; the samples are not taken in), UsageError (STREAM_NOT_OPEN), AbortedError
   */
  async push(samples: Float32Array): Promise<Float32Array> {
    this.expectOpen("push()");
    const { sampleRate } = this.grid;
    checkSamples(samples, (this.options.start ?? 0) + this.received / sampleRate, sampleRate);
    return this.exclusively("push()", () => this.take(samples));
  }

  /** The rows that are left [n, bins]. */
  finish(): Promise<Float32Array> {
    return this.exclusively("finish()", () => this.takeLast());
  }

  private async take(samples: Float32Array): Promise<Float32Array> {
    const chunks: Float32Array[] = [];
    for (let at = 0; at < samples.length; ) {
      if (this.frames >= this.limit) {
        this.received += samples.length - at;
        break;
      }
      const count = Math.min(this.window.length - this.filled, samples.length - at);
      this.lay(samples.subarray(at, at + count));
      at += count;
      if (this.filled === this.window.length) chunks.push(await this.makeFrames(this.chunkFrames));
    }
    return join(chunks);
  }

  private lay(samples: Float32Array): void {
    const { preEmphasis } = this.grid;
    this.window.set(samples, this.filled);
    if (preEmphasis !== undefined) {
      let { previous } = this;
      for (let i = 0; i < samples.length; i++) {
        this.window[this.filled + i] = samples[i]! - preEmphasis * previous;
        previous = samples[i]!;
      }
      this.previous = previous;
    }
    this.filled += samples.length;
    this.received += samples.length;
  }

  private async takeLast(): Promise<Float32Array> {
    const chunks: Float32Array[] = [];
    for (;;) {
      const due = Math.min(this.grid.frames(this.received), this.limit);
      const rest = Math.min(due - this.frames, this.chunkFrames);
      if (rest <= 0) break;
      this.extend(this.filled, frameSpan(this.grid, rest));
      chunks.push(await this.makeFrames(rest));
    }
    if (this.grid.fixedFrames !== undefined && this.frames < this.limit) {
      const zeros = new Float32Array((this.limit - this.frames) * this.bins);
      this.normalizer.apply(zeros);
      chunks.push(zeros);
    }
    return join(chunks);
  }

  private async makeFrames(count: number): Promise<Float32Array> {
    if (this.frames === 0) this.extend(0, this.grid.before);
    let rows = await this.run(this.window.subarray(0, frameSpan(this.grid, count)), this.options.signal);
    if (this.frames + count > this.limit) rows = rows.subarray(0, (this.limit - this.frames) * this.bins);
    const step = count * this.grid.hop;
    this.window.copyWithin(0, step, this.filled);
    this.filled = Math.max(0, this.filled - step);
    this.frames += count;
    this.normalizer.apply(rows);
    return rows;
  }

  /** Fills positions of the window that lie outside the signal. */
  private extend(from: number, to: number): void {
    const { hop, before, beyond } = this.grid;
    if (beyond === "none" || beyond === "zero") {
      if (to > from) this.window.fill(0, from, to);
      return;
    }
    const base = this.frames * hop - before;
    const mirrored = beyond === "reflect" ? reflect : symmetric;
    for (let at = from; at < to; at++) this.window[at] = this.window[mirrored(base + at, this.received) - base]!;
  }

  private async exclusively(call: string, work: () => Promise<Float32Array>): Promise<Float32Array> {
    this.expectOpen(call);
    throwIfAborted(this.options.signal, this.what);
    this.status = "running";
    try {
      const rows = await work();
      this.status = call === "finish()" ? "finished" : "open";
      return rows;
    } catch (error) {
      this.status = "broken";
      throw error;
    }
  }

  private expectOpen(call: string): void {
    if (this.status === "open") return;
    throw new UsageError(expected("an open stream", `${call} of ${this.what}`, this.status), {
      code: "STREAM_NOT_OPEN",
      hint: this.status === "running" ? "Await the call before." : "Open another stream with stream().",
    });
  }
}

/**
 * Index of a mirrored sample; the outermost one is not repeated. A signal shorter than the reach is mirrored over and over, as
 * numpy.pad(mode="reflect") does (torch refuses it).
 */
function reflect(index: number, length: number): number {
  const period = Math.max(1, 2 * (length - 1));
  const at = ((index % period) + period) % period;
  return at < length ? at : period - at;
}

function symmetric(index: number, length: number): number {
  const at = ((index % (2 * length)) + 2 * length) % (2 * length);
  return at < length ? at : 2 * length - 1 - at;
}

function join(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
