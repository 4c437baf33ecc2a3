import { expected, InputError } from "@krait/core";
import { brokenClock } from "./media-errors.js";
import type { AudioPart } from "./media-part.js";

/** Samples of one part: a tenth of a second at 16 kHz. */
const partSamples = 1600;
/** Packet times jitter by some milliseconds in many containers; only beyond this do they count as a gap or an overlap. */
const jitterSeconds = 0.02;
/** A clock that keeps jumping back is broken; up to this much repeated sound or picture is dropped. */
export const maxOverlapSeconds = 10;

/**
 * Lays packets on one clock, so that sample i of a stream lies at start + i / sampleRate for the whole of it:
 * gaps become silence, overlaps are dropped, both only beyond 20 ms. Cuts the result into even parts.
 */
export class AudioTimeline {
  #origin: number | undefined;
  /** Samples since the origin, including those in `#pending`. */
  #count = 0;
  #overlap = 0;
  #pending = new Float32Array(partSamples);
  #filled = 0;
  /** A packet that does not join the last one, until its successor tells whether to believe its time. */
  #held: { time: number; samples: Float32Array } | undefined;

  /** @param declaredStart where the container says that the stream begins, seconds */
  constructor(
    private readonly sampleRate: number,
    private readonly name: string,
    private readonly maxGapSeconds: number,
    private readonly declaredStart = Number.NEGATIVE_INFINITY,
  ) {}

  get buffered(): number {
    return (this.#filled + (this.#held?.samples.length ?? 0)) * 4;
  }

  /** Throws `InputError` MEDIA_TIMES_INVALID or SAMPLES_NOT_FINITE. */
  *push(time: number, samples: Float32Array): Generator<AudioPart, void, undefined> {
    checkFinite(samples, time, this.sampleRate, this.name);
    yield* this.#resolve(time);
    if (this.#origin === undefined || time - this.#laid > jitterSeconds) this.#held = { time, samples };
    else yield* this.#lay(time, samples);
  }

  /**
   * ffmpeg misreads one time where an MPEG stream changes its rate: it counts the ticks of the new rate by the old one. Such a
   * packet lies ahead, and those behind it, which may not fall back, crowd at its start until the clock has caught up: they
   * belong where the last one ended. As the first, it lies before the stream begins, and belongs in front of its successor.
   */
  *#resolve(next: number): Generator<AudioPart, void, undefined> {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    const length = held.samples.length / this.sampleRate;
    let { time } = held;
    if (this.#origin === undefined) {
      if (time < this.declaredStart - jitterSeconds && next < Number.POSITIVE_INFINITY) time = next - length;
    } else if (next < time + length / 2) time = this.#laid;
    yield* this.#lay(time, held.samples);
  }

  *#lay(time: number, samples: Float32Array): Generator<AudioPart, void, undefined> {
    this.#origin ??= time;
    const due = this.#laid;
    const gap = time - due;
    let kept = samples;
    if (gap > jitterSeconds) {
      if (gap > this.maxGapSeconds) throw this.#broken(`a gap of ${gap.toFixed(1)} s at ${due.toFixed(3)} s`);
      yield* this.#silence(Math.round(gap * this.sampleRate));
    } else if (gap < -jitterSeconds) {
      const repeated = Math.min(samples.length, Math.round(-gap * this.sampleRate));
      this.#overlap += repeated;
      if (this.#overlap > maxOverlapSeconds * this.sampleRate) {
        throw this.#broken(`a clock that jumps back, last from ${due.toFixed(3)} s to ${time.toFixed(3)} s`);
      }
      kept = samples.subarray(repeated);
    }
    yield* this.#append(kept);
  }

  /** Seconds at which the next sample is due. */
  get end(): number {
    const held = this.#held;
    return held === undefined ? this.#laid : held.time + held.samples.length / this.sampleRate;
  }

  get #laid(): number {
    return this.#origin === undefined ? Number.NEGATIVE_INFINITY : this.#origin + this.#count / this.sampleRate;
  }

  /** Start of the part that is still growing, seconds; infinity where there is none. */
  get pendingStart(): number {
    if (this.#filled === 0) return this.#held?.time ?? Number.POSITIVE_INFINITY;
    return this.#laid - this.#filled / this.sampleRate;
  }

  /** Gives out what is pending. */
  *flush(): Generator<AudioPart, void, undefined> {
    yield* this.#resolve(Number.POSITIVE_INFINITY);
    if (this.#filled > 0) yield this.#take();
  }

  *#silence(count: number): Generator<AudioPart, void, undefined> {
    const zeros = new Float32Array(Math.min(count, partSamples));
    for (let left = count; left > 0; left -= partSamples) yield* this.#append(zeros.subarray(0, left));
  }

  *#append(samples: Float32Array): Generator<AudioPart, void, undefined> {
    for (let done = 0; done < samples.length; ) {
      const take = Math.min(partSamples - this.#filled, samples.length - done);
      this.#pending.set(samples.subarray(done, done + take), this.#filled);
      this.#filled += take;
      this.#count += take;
      done += take;
      if (this.#filled === partSamples) yield this.#take();
    }
  }

  #take(): AudioPart {
    const samples = this.#pending.subarray(0, this.#filled);
    const start = this.#origin! + (this.#count - this.#filled) / this.sampleRate;
    this.#pending = new Float32Array(partSamples);
    this.#filled = 0;
    return { kind: "audio", samples, sampleRate: this.sampleRate, start };
  }

  #broken(received: string): InputError {
    return brokenClock(this.name, `audio with ${received}`);
  }
}

/** NaN and infinity would spread into every later feature. Throws `InputError` SAMPLES_NOT_FINITE. */
export function checkFinite(samples: Float32Array, start: number, sampleRate: number, name: string): void {
  // Zero times NaN or infinity is NaN: one sum tells of all of them.
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += samples[i]! * 0;
  if (sum === 0) return;
  for (let i = 0; i < samples.length; i++) {
    if (Number.isFinite(samples[i])) continue;
    const at = (start + i / sampleRate).toFixed(4);
    throw new InputError(expected("finite samples", `the audio of ${name} at ${at} s`, samples[i]), {
      code: "SAMPLES_NOT_FINITE",
      hint: "The file holds floating-point samples that are broken: export it again as 16-bit or 24-bit PCM.",
    });
  }
}
