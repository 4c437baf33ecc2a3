import { expected, UsageError } from "@krait/core";

/** A run of mono samples. */
export interface AudioChunk {
  /** [samples], full scale is ±1. */
  samples: Float32Array;
  /** Hertz. */
  sampleRate: number;
  /** Seconds; when the first sample sounds. */
  start: number;
}

/** What the ear would see: extremes and loudness per time bin. */
export class Envelope {
  readonly min: Float32Array;
  readonly max: Float32Array;
  readonly #squares: Float64Array;
  readonly #counts: Float64Array;
  #width = 1 / 256;
  #used = 0;
  /** Seconds; where the last sample ends. */
  end = 0;

  constructor(readonly maxBins = 2048) {
    this.min = new Float32Array(maxBins).fill(Number.POSITIVE_INFINITY);
    this.max = new Float32Array(maxBins).fill(Number.NEGATIVE_INFINITY);
    this.#squares = new Float64Array(maxBins);
    this.#counts = new Float64Array(maxBins);
  }

  /** Seconds per bin, a power of two; doubles when the sound outgrows the bins. */
  get width(): number {
    return this.#width;
  }

  get count(): number {
    return this.#used;
  }

  /** Samples that fell in a bin; its min and max mean nothing while this is zero. */
  samplesIn(bin: number): number {
    return this.#counts[bin]!;
  }

  /** Root mean square of a bin. */
  rms(bin: number): number {
    const count = this.#counts[bin]!;
    return count > 0 ? Math.sqrt(this.#squares[bin]! / count) : 0;
  }

  /** @throws UsageError INVALID_AUDIO */
  add({ samples, sampleRate, start }: AudioChunk): void {
    if (!(sampleRate > 0) || !Number.isFinite(sampleRate)) throw invalid("a positive rate", "sampleRate", sampleRate);
    if (!Number.isFinite(start)) throw invalid("a finite time", "start", start);
    if (samples.length === 0) return;
    // Sample numbers, not float times: where a chunk is cut must not decide the bin of a sample.
    const origin = Math.round(start * sampleRate);
    const final = origin + samples.length - 1;
    if (final < 0) return;
    while (this.#bin(final, sampleRate) >= this.maxBins) this.#double();
    for (let i = Math.max(0, -origin); i < samples.length; ) {
      const bin = this.#bin(origin + i, sampleRate);
      let low = this.min[bin]!;
      let high = this.max[bin]!;
      let squares = 0;
      let counted = 0;
      for (; i < samples.length && this.#bin(origin + i, sampleRate) === bin; i++) {
        const value = samples[i]!;
        if (!Number.isFinite(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
        squares += value * value;
        counted++;
      }
      this.min[bin] = low;
      this.max[bin] = high;
      this.#squares[bin]! += squares;
      this.#counts[bin]! += counted;
    }
    this.#used = Math.max(this.#used, this.#bin(final, sampleRate) + 1);
    this.end = Math.max(this.end, (final + 1) / sampleRate);
  }

  #bin(sample: number, rate: number): number {
    return Math.floor(sample / (rate * this.#width));
  }

  #double(): void {
    const { min, max, maxBins } = this;
    const squares = this.#squares;
    const counts = this.#counts;
    const half = Math.ceil(maxBins / 2);
    for (let i = 0; i < half; i++) {
      const [a, b] = [2 * i, 2 * i + 1];
      const pair = b < maxBins;
      min[i] = pair ? Math.min(min[a]!, min[b]!) : min[a]!;
      max[i] = pair ? Math.max(max[a]!, max[b]!) : max[a]!;
      squares[i] = squares[a]! + (pair ? squares[b]! : 0);
      counts[i] = counts[a]! + (pair ? counts[b]! : 0);
    }
    min.fill(Number.POSITIVE_INFINITY, half);
    max.fill(Number.NEGATIVE_INFINITY, half);
    squares.fill(0, half);
    counts.fill(0, half);
    this.#width *= 2;
    this.#used = Math.ceil(this.#used / 2);
  }
}

function invalid(what: string, name: string, received: unknown): UsageError {
  return new UsageError(expected(what, name, received), {
    code: "INVALID_AUDIO",
    hint: "Pass mono samples with their rate in hertz and the time of the first one in seconds.",
  });
}
