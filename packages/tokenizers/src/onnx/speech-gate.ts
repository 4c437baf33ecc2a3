import { expected, InputError, parseOptions } from "@krait/core";
import { z } from "zod";
import type { AudioSamples } from "../audio/index.js";
import { pull } from "../pull.js";
import { type SileroVad, vadPeriod } from "./silero-vad.js";

const gateSchema = z.strictObject({
  /** Probability from which speech begins, and below which it ends (by default 0.15 less). */
  threshold: z.number().gt(0).lt(1).default(0.5),
  endThreshold: z.number().gt(0).lt(1).optional(),
  /** Seconds: shorter speech is none, shorter silence does not end it, and so much is kept around it. */
  minSpeech: z.number().min(0).max(60).default(0.25),
  minSilence: z.number().min(0).max(60).default(0.1),
  padding: z.number().min(0).max(10).default(0.1),
  signal: z.instanceof(AbortSignal).optional(),
});
export type SpeechGateOptions = Omit<z.input<typeof gateSchema>, "signal"> & { signal?: AbortSignal | undefined };

/** A piece of speech. Pieces of one passage follow each other without a gap; a passage begins where `first` is true. */
export interface SpeechPart extends AudioSamples {
  readonly first: boolean;
}

/** A place in the signal, in samples. */
interface Span {
  from: number;
  to: number;
  first: boolean;
}

const sampleRate = 16000;

/**
 * Decides from probabilities, 32 ms each, which samples to let through. Holds back no more than a passage's beginning (minSpeech, padding) or
 * a possible end (minSilence).
 */
export class SpeechGate {
  private readonly options: z.output<typeof gateSchema>;
  private decided = 0;
  private passage: { from: number; speechFrom: number; sure: boolean; silenceFrom: number | undefined } | undefined;
  /** Samples up to here went out. */
  private out = 0;
  private begun = false;

  constructor(options: SpeechGateOptions = {}) {
    this.options = parseOptions(gateSchema, options, "SpeechGate");
  }

  /** Samples before this one will never be asked for. */
  get keepFrom(): number {
    const from = this.passage ? this.passage.from : this.decided - this.padding;
    return Math.max(this.out, Math.min(from, this.decided));
  }

  /** Takes the next probability and returns what may go out. */
  add(probability: number): Span[] {
    const { threshold, minSilence, minSpeech } = this.options;
    const from = this.decided;
    const to = from + Math.round(vadPeriod * sampleRate);
    this.decided = to;
    if (probability >= threshold) {
      this.passage ??= {
        from: Math.max(this.out, from - this.padding),
        speechFrom: from,
        sure: false,
        silenceFrom: undefined,
      };
      this.passage.silenceFrom = undefined;
    }
    const { passage } = this;
    if (!passage) return [];
    if (probability < (this.options.endThreshold ?? threshold - 0.15)) passage.silenceFrom ??= from;
    const { silenceFrom } = passage;
    if ((silenceFrom ?? to) - passage.speechFrom >= minSpeech * sampleRate) passage.sure = true;
    if (silenceFrom !== undefined && to - silenceFrom >= minSilence * sampleRate) return this.end(silenceFrom, to);
    return passage.sure ? this.let(silenceFrom ?? to) : [];
  }

  /** The end of the signal, at so many samples. */
  finish(length: number): Span[] {
    const { passage } = this;
    if (!passage) return [];
    const last = Math.min(passage.silenceFrom ?? length, length);
    if (last - passage.speechFrom >= this.options.minSpeech * sampleRate) passage.sure = true;
    return this.end(last, length);
  }

  private get padding(): number {
    return Math.round(this.options.padding * sampleRate);
  }

  private end(speechTo: number, limit: number): Span[] {
    const spans = this.passage!.sure ? this.let(Math.min(speechTo + this.padding, limit)) : [];
    this.passage = undefined;
    this.begun = false;
    return spans;
  }

  private let(to: number): Span[] {
    const from = this.begun ? this.out : this.passage!.from;
    if (to <= from) return [];
    const first = !this.begun;
    this.begun = true;
    this.out = to;
    return [{ from, to, first }];
  }
}

/**
 * Lets only speech through: the parts of a decoded signal in which the VAD hears some, with their own times. Memory is bounded by the
 * options, whatever the length.
 *
 * `audioTokenSource` takes the result with `gaps: "restart"`. The iteration throws what the VAD throws, `InputError`
 * (AUDIO_TIMES_INVALID: parts that do not follow each other, SAMPLE_RATE_MISMATCH) and `AbortedError`.
 */
export async function* gateSpeech(
  parts: AsyncIterable<AudioSamples>,
  vad: SileroVad,
  options: SpeechGateOptions = {},
): AsyncGenerator<SpeechPart, void, undefined> {
  const gate = new SpeechGate(options);
  const stream = vad.stream({ signal: options.signal });
  const held = new HeldSamples();
  let start = 0;
  const pick = ({ from, to, first }: Span): SpeechPart => ({
    samples: held.copy(from, to),
    sampleRate,
    start: start + from / sampleRate,
    first,
  });
  for await (const part of pull(parts, options.signal, "the speech gate")) {
    if (held.end === 0) start = part.start;
    checkPart(part, start + held.end / sampleRate);
    // Pieces of one second: a long part is not held twice.
    for (let at = 0; at < part.samples.length; at += sampleRate) {
      const samples = part.samples.subarray(at, at + sampleRate);
      held.add(samples);
      for (const probability of await stream.push(samples)) for (const span of gate.add(probability)) yield pick(span);
      held.drop(gate.keepFrom);
    }
  }
  for (const probability of await stream.finish()) {
    for (const span of gate.add(probability)) {
      if (span.from < held.end) yield pick({ ...span, to: Math.min(span.to, held.end) });
    }
  }
  for (const span of gate.finish(held.end)) yield pick(span);
}

function checkPart({ sampleRate: rate, start }: AudioSamples, due: number): void {
  if (rate !== sampleRate) {
    throw new InputError(expected(`${sampleRate} hertz`, "the sample rate of a part", rate), {
      code: "SAMPLE_RATE_MISMATCH",
      hint: "Decode with audio.sampleRate 16000.",
    });
  }
  if (Math.abs(start - due) <= 0.02) return;
  throw new InputError(expected(`samples that go on at ${due.toFixed(4)} s`, "a part of the audio", start), {
    code: "AUDIO_TIMES_INVALID",
    hint: "Fill gaps with silence and drop overlaps first, as decode() does.",
  });
}

/** A moving window of the signal. */
class HeldSamples {
  private samples = new Float32Array(0);
  private begin = 0;

  get end(): number {
    return this.begin + this.samples.length;
  }

  add(samples: Float32Array): void {
    const joined = new Float32Array(this.samples.length + samples.length);
    joined.set(this.samples);
    joined.set(samples, this.samples.length);
    this.samples = joined;
  }

  copy(from: number, to: number): Float32Array {
    return this.samples.slice(from - this.begin, to - this.begin);
  }

  drop(before: number): void {
    const count = Math.min(Math.max(0, before - this.begin), this.samples.length);
    this.samples = this.samples.slice(count);
    this.begin += count;
  }
}
