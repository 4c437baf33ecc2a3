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
