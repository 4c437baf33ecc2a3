import { z } from "zod";

export const windowSchema = z.enum(["hanning", "povey", "hamming", "blackman", "rectangular"]);
export type WindowName = z.output<typeof windowSchema>;

/** A window of `size` samples: symmetric (its last sample is as its first) or periodic (that sample would be the next one). */
export function windowValues(name: WindowName, size: number, kind: "symmetric" | "periodic"): Float64Array {
  const period = kind === "symmetric" ? Math.max(1, size - 1) : size;
  const shapes: Record<WindowName, (turn: number) => number> = {
    hanning: (t) => 0.5 - 0.5 * Math.cos(t),
    povey: (t) => (0.5 - 0.5 * Math.cos(t)) ** 0.85,
    hamming: (t) => 0.54 - 0.46 * Math.cos(t),
    blackman: (t) => 0.42 - 0.5 * Math.cos(t) + 0.08 * Math.cos(2 * t),
    rectangular: () => 1,
  };
  return Float64Array.from({ length: size }, (_, n) => shapes[name]((2 * Math.PI * n) / period));
}

/**
 * The Fourier transform of a windowed frame with zeros behind it, as a matrix [2 · frequencies, size]: cosines, then sines.
 * `frameTransform` applies, transposed and in place, what else is linear in a frame before the window.
 */
export function fourierMatrix({
  window,
  fftSize,
  frequencies,
  frameTransform,
}: {
  window: Float64Array;
  fftSize: number;
  frequencies: number;
  frameTransform?: (row: Float64Array) => void;
}): Float32Array {
  const size = window.length;
  const weight = new Float32Array(2 * frequencies * size);
  const row = new Float64Array(size);
  for (const [part, wave] of [Math.cos, Math.sin].entries()) {
    // The values of one turn; indices wrap, so that angles stay small and exact.
    const turn = Float64Array.from({ length: fftSize }, (_, i) => wave((2 * Math.PI * i) / fftSize));
    for (let k = 0; k < frequencies; k++) {
      for (let n = 0; n < size; n++) row[n] = window[n]! * turn[(k * n) % fftSize]!;
      frameTransform?.(row);
      weight.set(row, (part * frequencies + k) * size);
    }
  }
  return weight;
}

/** Filters [bins, frequencies] over squared cosines and squared sines side by side, [bins, 2 · frequencies]. */
export function sideBySide(filters: Float64Array, bins: number, frequencies: number): Float32Array {
  const weight = new Float32Array(bins * 2 * frequencies);
  for (let m = 0; m < bins; m++) {
    const row = filters.subarray(m * frequencies, (m + 1) * frequencies);
    weight.set(row, 2 * m * frequencies);
    weight.set(row, (2 * m + 1) * frequencies);
  }
  return weight;
}
