import { concatenate, slice, unary } from "./ops/index.js";
import type { Value } from "./value.js";

/** Materialises a view [T, D], or casts to another float dtype. */
export function copy(x: Value, outDtype: "same" | "f32" | "bf16" = "same"): Value {
  return unary({ x }, { kind: "identity", outDtype }).y;
}

/** Rows of all parts, one after the other. */
export function concatenateRows(parts: readonly Value[]): Value {
  return parts.reduce((a, b) => concatenate({ a, b }, { axis: 0 }).y);
}

/** Consecutive column slices of the given widths, as views. */
export function split(x: Value, widths: readonly number[]): Value[] {
  let start = 0;
  return widths.map((length) => {
    const { y } = slice({ x }, { start, length });
    start += length;
    return y;
  });
}
