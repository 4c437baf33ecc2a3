import type { Picture } from "./processor.js";

/** Cells of a signature's side. */
const side = 16;
/** Pixels looked at along a cell, at most. */
const samples = 8;

/** The mean colours of 16 × 16 cells, [16, 16, 3]: small enough to compare often, coarse enough to overlook noise. */
export function signatureOf({ pixels, width, height }: Picture): Uint8Array {
  const out = new Uint8Array(side * side * 3);
  const [columns, rows] = [places(width), places(height)];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      let [r, g, b, n] = [0, 0, 0, 0];
      for (const row of rows[y]!) {
        for (const column of columns[x]!) {
          const at = (row * width + column) * 3;
          r += pixels[at]!;
          g += pixels[at + 1]!;
          b += pixels[at + 2]!;
          n++;
        }
      }
      const to = (y * side + x) * 3;
      out[to] = Math.round(r / n);
      out[to + 1] = Math.round(g / n);
      out[to + 2] = Math.round(b / n);
    }
  }
  return out;
}

/** Mean absolute difference of two signatures, in steps of a byte. */
export function differenceOf(a: Uint8Array, b: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}

/** For each cell the pixels that are looked at, evenly over it; at least one. */
function places(size: number): number[][] {
  return Array.from({ length: side }, (_, cell) => {
    const from = (cell * size) / side;
    const length = size / side;
    const count = Math.max(1, Math.min(samples, Math.floor(length)));
    return Array.from({ length: count }, (_, i) => Math.floor(from + ((i + 0.5) * length) / count));
  });
}
