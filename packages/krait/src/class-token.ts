import { expected, UsageError } from "@krait/core";
import type { ClassToken, EncoderConfig } from "@krait/nn";
import { partLength, placeClassToken, type SequencePart } from "@krait/tokenizers";
import type { Payload } from "./assemble.js";
import { openSequence, type PipelineOptions } from "./pipeline.js";
import type { Pool } from "./pool.js";
import type { Prediction } from "./predict.js";
import { tooLongForARun } from "./run-chunks.js";
import { type Source, streamOf } from "./sources.js";

export interface WholeSequenceOptions {
  /** Tokens of one native run: a sequence that is no longer is held until its end shows its middle. */
  chunkTokens: number;
  /** Whether the stack looks ahead, so that a sequence longer than a run is not encoded at all. */
  looksAhead: boolean;
  prediction: Prediction | undefined;
  /** How many tokens the sequence has without its class token: filled in when they were counted, or kept from an earlier run. */
  length: { tokens: number | undefined };
  /** Looks on at the counting of tokens: how many there are so far, and the end of the latest in seconds. */
  onCount?: ((tokens: number, seconds: number) => void) | undefined;
}

/**
 * `openSequence()` with the class token of the config in its place.
 *
 * For the middle of a sequence that is longer than a run its tokens must be known before: they are where the prediction is exact; else the
 * sources are read twice, the first time to count.
 *
 * @throws UsageError (LENGTH_UNKNOWN) for the middle of a stream that is longer than a run; what `openSequence` and `placeClassToken` throw
 */
export function openWholeSequence(
  sources: readonly Source[],
  options: PipelineOptions,
  { chunkTokens, looksAhead, prediction, length, onCount }: WholeSequenceOptions,
): AsyncGenerator<SequencePart<Payload>, void, undefined> {
  const parts = openSequence(sources, options);
  const { classToken = "none" } = options.config.sequence;
  if (classToken === "none") return parts;
  const count = async () => {
    if (looksAhead) throw tooLongForARun(chunkTokens);
    if (length.tokens === undefined && prediction?.exact)
      length.tokens = prediction.tokens - prediction.byModality.class;
    length.tokens ??= await countTokens(sources, options, onCount);
    return length.tokens;
  };
  return placeClassToken(parts, { place: classToken, holdTokens: chunkTokens, count });
}

/** Decodes and tokenizes, and encodes nothing. */
async function countTokens(
  sources: readonly Source[],
  options: PipelineOptions,
  onCount: WholeSequenceOptions["onCount"],
): Promise<number> {
  if (sources.some((source) => streamOf(source) !== undefined)) {
    const what = "a number of tokens known beforehand";
    throw new UsageError(expected(what, 'classToken "middle"', "a stream of unknown length"), {
      code: "LENGTH_UNKNOWN",
      hint: 'Its middle is only known at its end: write it to a file first, load the encoder with a larger chunkTokens so that it fits into one run, or use a model with classToken "last".',
    });
  }
  let tokens = 0;
  let seconds = 0;
  for await (const part of openSequence(sources, { ...options, taps: undefined })) {
    tokens += partLength(part);
    seconds = Math.max(seconds, "time" in part ? part.time : part.block.end[part.to - 1]!);
    onCount?.(tokens, seconds);
  }
  return tokens;
}

/**
 * A session's sequence goes on from call to call: it has a beginning, but neither a middle nor an end.
 *
 * @throws UsageError (CLASS_TOKEN_SESSION)
 */
export function checkSessionClass({ sequence }: EncoderConfig): void {
  const { classToken } = sequence;
  if (classToken !== "middle" && classToken !== "last") return;
  throw new UsageError(expected('classToken "none" or "first"', "a session", classToken), {
    code: "CLASS_TOKEN_SESSION",
    hint: "A session goes on from call to call, so its sequence has no middle and no end: encode() and stream() without a session place the token.",
  });
}

/** The class token of one call: none where its session is past the beginning. */
export function classTokenOf({ sequence }: EncoderConfig, position: number): ClassToken {
  const { classToken = "none" } = sequence;
  return position > 0 ? "none" : classToken;
}

/**
 * @param looksAhead whether the first token of a sequence sees what follows
 * @throws UsageError (POOL_ORDER, POOL_CLASS) for a pool that a model of this config cannot give
 */
export function checkPool(pool: Pool, { sequence }: EncoderConfig, looksAhead: boolean): void {
  if (pool === "frame" && sequence.order === "temporal") {
    throw new UsageError(expected('"token" or seconds', "the option pool", pool), {
      code: "POOL_ORDER",
      hint: "In temporal order a picture's patches do not stand together: pool by the seconds of a picture instead.",
    });
  }
  if (pool !== "class") return;
  const { classToken = "none" } = sequence;
  if (classToken === "none") {
    throw new UsageError(expected('"token", "frame" or seconds', "the option pool", pool), {
      code: "POOL_CLASS",
      hint: "The model has no class token: its config.json names none in sequence.classToken.",
    });
  }
  if (classToken === "first" && !looksAhead) {
    throw new UsageError(expected('"token", "frame" or seconds', "the option pool", pool), {
      code: "POOL_CLASS",
      hint: "In a causal stack the first token has seen nothing but itself, so it is the same for every input; a class token in the middle or last has.",
    });
  }
}
