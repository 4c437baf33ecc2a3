import { expected, UsageError } from "@krait/core";
import { windowOf } from "./windows.js";

/** When the tokens of one timed source start: `count` starts at `first`, `first + period`, … in seconds. */
export interface StartSpan {
  first: number;
  period: number;
  count: number;
}

/**
 * The number of windows that hold at least one token start. Exact where the spans are; O(starts) for periods of a window and more, else O(1).
 * Throws `UsageError` (INVALID_OPTION) for negative or non-finite spans.
 */
export function predictWindows(spans: readonly StartSpan[], windowSeconds = 2): number {
  if (!(windowSeconds > 0 && Number.isFinite(windowSeconds)))
    throw invalid("a positive number of seconds", windowSeconds);
  const ranges: [number, number][] = [];
  for (const { first, period, count } of spans) {
    if (!(Number.isFinite(first) && Number.isFinite(period) && period >= 0)) throw invalid("finite spans", period);
    if (!(Number.isSafeInteger(count) && count >= 0)) throw invalid("a whole number of starts", count);
    if (count === 0) continue;
    // Starts closer than a window leave no window empty; at just a window's distance rounding may skip one.
    if (period <= windowSeconds * 0.999) {
      ranges.push([windowOf(first, windowSeconds), windowOf(first + (count - 1) * period, windowSeconds)]);
    } else {
      for (let i = 0; i < count; i++) {
        const k = windowOf(first + i * period, windowSeconds);
        ranges.push([k, k]);
      }
    }
  }
  ranges.sort((a, b) => a[0] - b[0]);
  let windows = 0;
  let covered = Number.NEGATIVE_INFINITY;
  for (const [low, high] of ranges) {
    if (high <= covered) continue;
    windows += high - Math.max(low - 1, covered);
    covered = high;
  }
  return windows;
}

/**
 * The number of separators that `interleave` will make: one between consecutive pieces, where a piece is a window with
 * tokens or one of the `untimedTexts` (counting those with at least one token).
 */
export function predictSeparators(spans: readonly StartSpan[], windowSeconds = 2, untimedTexts = 0): number {
  return Math.max(0, predictWindows(spans, windowSeconds) + untimedTexts - 1);
}

function invalid(what: string, received: number): UsageError {
  return new UsageError(expected(what, "predictSeparators()", received), {
    code: "INVALID_OPTION",
    hint: "Take the spans from the probe of the input and the options of its tokenizer.",
  });
}
