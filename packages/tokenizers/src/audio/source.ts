import { expected, InputError, parseOptions, UsageError } from "@krait/core";
import type { VideoPart } from "@krait/media";
import { z } from "zod";
import { pull } from "../pull.js";
import { type TokenBlock, type TokenSource, tokenSource } from "../sequence/index.js";
import { LogMel } from "./log-mel.js";
import type { LogMelStream } from "./log-mel-stream.js";
import { hopLength, melSampleRate } from "./mel-weights.js";

/** Mono samples as `decode` gives them; sample i lies at start + i / sampleRate, in seconds. */
export interface AudioSamples {
  readonly samples: Float32Array;
  readonly sampleRate: number;
  readonly start: number;
}

/** Rows of a block's tokens: `values` is [count, stack · melBins], a token's mel frames one after the other. */
export interface AudioPayload {
  readonly values: Float32Array;
}

const stackSchema = z.literal([2, 4, 8], "2, 4 or 8").default(8);
const predictSchema = z.strictObject({ stack: stackSchema });
const sourceSchema = z.strictObject({
  parts: z.custom<AsyncIterable<object>>(
    (value) => typeof (value as AsyncIterable<object> | undefined)?.[Symbol.asyncIterator] === "function",
    "an async iterable",
  ),
  logMel: z.instanceof(LogMel, { error: "a LogMel of createLogMel()" }),
  stack: stackSchema,
  gaps: z.enum(["refuse", "restart"]).default("refuse"),
  signal: z.instanceof(AbortSignal).optional(),
});

export interface AudioTokenOptions {
  /** Samples at 16 kHz that follow each other without gaps, as `decode` gives them. Read once. */
  parts: AsyncIterable<AudioSamples | VideoPart>;
  /** The front end, which stays open; not one with normalization "exact". */
  logMel: LogMel;
  /** Mel frames of 10 ms per token: 8, 4 or 2 for 12.5, 25 or 50 tokens per second. Default 8. */
  stack?: 2 | 4 | 8 | undefined;
  /**
   * What to do with a gap between parts: refuse it (default), or end the signal there and start another behind it, as for the passages of
   * `gateSpeech`. A passage is framed by itself, as a file of its own would be.
   */
  gaps?: "refuse" | "restart" | undefined;
  signal?: AbortSignal | undefined;
}

/** Parts may lie this many seconds from where the samples before them end: the jitter of packet times. */
const maxJitterSeconds = 0.02;

/**
 * Audio as a source of the flat sequence.
 *
 * Token i covers `stack` mel frames, from start + i · stack · 0.01 s on, where `start` is the time of the first sample. A last
 * token short of frames is completed with the value of silence (the floor of the normalisation) and ends where the signal ends; the
 * samples behind the last whole frame of 10 ms are dropped, as Whisper does. Blocks come as the front end makes its chunks.
 *
 * The iteration throws `InputError` (SAMPLES_NOT_FINITE, SAMPLES_TOO_LARGE, AUDIO_TIMES_INVALID), `UsageError` (SAMPLE_RATE_MISMATCH,
 * MODALITY_MISMATCH) and `AbortedError`; the call itself `UsageError` (INVALID_OPTION, EXACT_NEEDS_WHOLE_SIGNAL).
 */
export function audioTokenSource(options: AudioTokenOptions): TokenSource<AudioPayload> {
  const parsed = parseOptions(sourceSchema, options, "audioTokenSource()");
  parsed.logMel.stream(); // refuses "exact" now rather than at the first part
  return tokenSource({ modality: 1, timed: true }, audioBlocks(parsed));
}

/**
 * How many tokens `audioTokenSource` makes of a signal that lasts `durationSeconds` at 16 kHz: exact where the duration is.
 * Throws `UsageError` (INVALID_OPTION).
 */
export function predictAudioTokens(durationSeconds: number, options: { stack?: 2 | 4 | 8 } = {}): number {
  const { stack } = parseOptions(predictSchema, options, "predictAudioTokens()");
  const samples = Math.round(durationSeconds * melSampleRate);
  if (!(Number.isSafeInteger(samples) && samples >= 0)) {
    throw new UsageError(expected("a duration in seconds", "predictAudioTokens()", durationSeconds), {
      code: "INVALID_OPTION",
      hint: "Give what probe() says of the stream.",
    });
  }
  return Math.ceil(Math.floor(samples / hopLength) / stack);
}

async function* audioBlocks({
  parts,
  logMel,
  stack,
  gaps,
  signal,
}: z.output<typeof sourceSchema>): AsyncGenerator<TokenBlock<AudioPayload>> {
  const { melBins, chunkFrames } = logMel.options;
  const step = chunkFrames * hopLength;
  let open: OpenSignal | undefined;
  for await (const part of pull(parts, signal, "the audio source")) {
    const { samples, start } = checkPart(part);
    if (open && gaps === "restart" && start - dueTime(open) > maxJitterSeconds) {
      yield* finishBlocks(open);
      open = undefined;
    }
    open ??= { tokens: new TokenStacker(start, stack, melBins), stream: logMel.stream({ start, signal }) };
    checkClock(start, dueTime(open));
    const { tokens, stream } = open;
    // One block per run, however long a part is.
    for (let at = 0; at < samples.length; at += step) {
      const block = tokens.add(await stream.push(samples.subarray(at, at + step)));
      if (block) yield block;
    }
  }
  if (open) yield* finishBlocks(open);
}

interface OpenSignal {
  tokens: TokenStacker;
  stream: LogMelStream;
}

/** When the next sample is due, seconds. */
function dueTime({ tokens, stream }: OpenSignal): number {
  return tokens.start + stream.samples / melSampleRate;
}

async function* finishBlocks({ tokens, stream }: OpenSignal): AsyncGenerator<TokenBlock<AudioPayload>> {
  const whole = tokens.add(await stream.finish());
  if (whole) yield whole;
  const last = tokens.finish(stream.silence, stream.samples / melSampleRate);
  if (last) yield last;
}

function checkPart(part: object): AudioSamples {
  const { samples, sampleRate, start } = part as AudioSamples;
  if (!(samples instanceof Float32Array)) {
    throw new UsageError(expected("parts with samples", "audioTokenSource()", samples), {
      code: "MODALITY_MISMATCH",
      hint: "Decode audio alone for it, or hand it the audio parts only.",
    });
  }
  if (sampleRate !== melSampleRate) {
    throw new UsageError(expected(`${melSampleRate} hertz`, "the sample rate of a part", sampleRate), {
      code: "SAMPLE_RATE_MISMATCH",
      hint: "Decode with audio.sampleRate 16000, or use a Resampler.",
    });
  }
  return { samples, sampleRate, start };
}

function checkClock(start: number, due: number): void {
  if (Math.abs(start - due) <= maxJitterSeconds) return; // never true of NaN
  throw new InputError(expected(`samples that go on at ${due.toFixed(4)} s`, "a part of the audio", start), {
    code: "AUDIO_TIMES_INVALID",
    hint: "Fill gaps with silence and drop overlaps first, as decode() does.",
  });
}

/** Mel frames to tokens of `stack` frames each; holds less than one token. */
class TokenStacker {
  private readonly carried: Float32Array;
  private filled = 0;
  private made = 0;

  constructor(
    /** Seconds. */
    readonly start: number,
    private readonly stack: number,
    melBins: number,
  ) {
    this.carried = new Float32Array(stack * melBins);
  }

  add(frames: Float32Array): TokenBlock<AudioPayload> | undefined {
    const width = this.carried.length;
    const count = Math.floor((this.filled + frames.length) / width);
    const taken = count === 0 ? 0 : count * width - this.filled;
    const block = count === 0 ? undefined : this.block(count, frames.subarray(0, taken));
    const rest = frames.subarray(taken);
    this.carried.set(rest, this.filled);
    this.filled += rest.length;
    return block;
  }

  /** The token short of frames, if there is one. @param duration seconds of the whole signal */
  finish(silence: number, duration: number): TokenBlock<AudioPayload> | undefined {
    if (this.filled === 0) return undefined;
    const block = this.block(1, new Float32Array(this.carried.length - this.filled).fill(silence));
    block.end[0] = this.start + duration;
    return block;
  }

  private block(count: number, behind: Float32Array): TokenBlock<AudioPayload> {
    const values = new Float32Array(count * this.carried.length);
    values.set(this.carried.subarray(0, this.filled));
    values.set(behind, this.filled);
    this.filled = 0;
    const first = this.made;
    this.made += count;
    const time = (token: number) => this.start + (token * this.stack * hopLength) / melSampleRate;
    return {
      modality: 1,
      count,
      start: Float64Array.from({ length: count }, (_, i) => time(first + i)),
      end: Float64Array.from({ length: count }, (_, i) => time(first + i + 1)),
      row: new Uint16Array(count),
      column: new Uint16Array(count),
      payload: { values },
    };
  }
}
