/** Resampling filters as Pillow has them; `nearest` takes one pixel and smooths nothing. */
export const filterNames = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as const;
export type FilterName = (typeof filterNames)[number];

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

interface Filter {
  /** Half the width, in pixels of the coarser side. */
  support: number;
  at(x: number): number;
}

/** libImaging/Resample.c. The bicubic one has a = −0.5. */
const filters: Record<Exclude<FilterName, "nearest">, Filter> = {
  box: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    at: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x))),
  },
  bicubic: {
    support: 2,
    at: (signed) => {
      const x = Math.abs(signed);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
      return 0;
    },
  },
  lanczos: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Bits behind the point of a coefficient: a byte times it, summed, stays within 32 bits. */
export const coefficientBits = 32 - 8 - 2;

/** How pixels of one axis are mixed. Output i is Σ values[i · width + k] · x[first[i] + k] over count[i] pixels. */
export interface Taps {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** Coefficients per output. */
  readonly width: number;
  readonly values: Int32Array;
}

/**
 * Taps for outputs [from, to) of an axis of `size` pixels resampled to `target`. When it shrinks, the filter is as many times wider, so
 * that nothing aliases.
 */
export function resampleTaps(name: FilterName, size: number, target: number, from: number, to: number): Taps {
  const scale = size / target;
  const first = new Int32Array(to - from);
  const count = new Int32Array(to - from);
  if (name === "nearest") {
    // Summed up as Pillow does it (libImaging/Geometry.c): at a border its rounding decides.
    for (let i = 0, at = 0.5 * scale; i < to; i++, at += scale) {
      if (i >= from) first[i - from] = Math.min(size - 1, Math.trunc(at));
    }
    return { first, count: count.fill(1), width: 1, values: new Int32Array(to - from).fill(1 << coefficientBits) };
  }
  const filter = filters[name];
  const stretch = Math.max(1, scale);
  const support = filter.support * stretch;
  const width = Math.ceil(support) * 2 + 1;
  const values = new Int32Array((to - from) * width);
  const weights = new Float64Array(width);
  for (let i = from; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const high = Math.min(size, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let k = 0; k < high - low; k++) {
      weights[k] = filter.at((k + low - centre + 0.5) / stretch);
      sum += weights[k]!;
    }
    first[i - from] = low;
    count[i - from] = high - low;
    for (let k = 0; k < high - low; k++) {
      const fixed = (sum === 0 ? weights[k]! : weights[k]! / sum) * (1 << coefficientBits);
      values[(i - from) * width + k] = Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5));
    }
  }
  return { first, count, width, values };
}
