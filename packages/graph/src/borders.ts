import type { LengthRule } from "./expr.js";

/** Sequence borders after a length rule; the host's twin of what framing ops compute. */
export function deriveBorders(borders: ArrayLike<number>, rule: LengthRule): Int32Array {
  const out = new Int32Array(borders.length);
  for (let s = 0; s + 1 < borders.length; s++) {
    const length = borders[s + 1]! - borders[s]!;
    out[s + 1] = out[s]! + Math.max(0, Math.floor((length + rule.add) / rule.by));
  }
  return out;
}
