/** Numbers for the page: one byte each, in base64. Code 0 means "no value"; codes 1 to 255 run evenly from `lo` to `hi`. */
export interface Quantised {
  lo: number;
  hi: number;
  /** Base64 of Uint8. */
  data: string;
}

const STEPS = 254;

/**
 * Rounds values to 255 even steps over their own range, or over `range` (what lies outside is clamped).
 * NaN is "no value". The error of a value within the range is at most (hi − lo) / 508.
 */
export function quantise(values: ArrayLike<number>, range?: { lo: number; hi: number }): Quantised {
  let lo = range?.lo ?? Number.POSITIVE_INFINITY;
  let hi = range?.hi ?? Number.NEGATIVE_INFINITY;
  if (!range) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (value < lo) lo = value;
      if (value > hi) hi = value;
    }
    if (lo > hi) lo = hi = 0;
  }
  const codes = new Uint8Array(values.length);
  const scale = hi > lo ? STEPS / (hi - lo) : 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) continue;
    codes[i] = 1 + Math.round(Math.min(STEPS, Math.max(0, (value - lo) * scale)));
  }
  return { lo, hi, data: Buffer.from(codes.buffer).toString("base64") };
}
