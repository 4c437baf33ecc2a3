import type { Attributes } from "@krait/graph";

/** One operand's data: float64 values that the harness rounds to the dtype under test. */
export interface CaseTensor {
  shape: number[];
  data: Float64Array;
}

export interface OpCase {
  name: string;
  attributes?: Attributes;
  /** Letters of the record that are symbols in the program, with their values; the others are constants. */
  symbols?: Record<string, number>;
  inputs: Record<string, CaseTensor>;
  /** Operands declared as column slices of wider rows. */
  wide?: string[];
  /** An op behind that reads this one's y as its x, or as the operand named: what a device may run as one with it. */
  behind?: Pick<OpCase, "inputs" | "attributes" | "wide"> & {
    op: string;
    reads?: string;
    /**
     * Nobody wants this op's results but the op behind, whose own may then lie in the place of the others, but not in that of these inputs:
     * they are read once more at the end.
     */
    alone?: readonly string[];
  };
  /** Relative RMS bounds where the common ones (1e-5, 1e-2) do not fit; `why` is required reading. */
  bounds?: { f32?: number; bf16?: number; why: string };
}

export interface CaseKit {
  sizes: readonly number[];
  random(shape: number[], options?: { low?: number; high?: number } | "normal"): CaseTensor;
  /** Integers in [low, high). */
  integers(shape: number[], low: number, high: number): CaseTensor;
  /** cuSeqlens of sequences with these lengths. */
  borders(lengths: readonly number[]): CaseTensor;
  /** The values as they are. */
  exact(shape: number[], values: ArrayLike<number>): CaseTensor;
}

export interface CaseTable {
  op: string;
  cases: (kit: CaseKit) => OpCase[];
}

export function defineCases(op: string, cases: CaseTable["cases"]): CaseTable {
  return { op, cases };
}

/** A small, seeded generator (mulberry32), so that a failure can be repeated. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function caseKit(seed: number): CaseKit {
  const next = generator(seed);
  const fill = (shape: number[], value: () => number): CaseTensor => ({
    shape,
    data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, value),
  });
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return {
    sizes: [1, 2, 3, 127, 129, 1000],
    random: (shape, options = {}) => {
      if (options === "normal") return fill(shape, normal);
      const { low = -1, high = 1 } = options;
      return fill(shape, () => low + (high - low) * next());
    },
    integers: (shape, low, high) => fill(shape, () => low + Math.floor((high - low) * next())),
    borders: (lengths) => {
      const data = new Float64Array(lengths.length + 1);
      lengths.forEach((n, i) => {
        data[i + 1] = data[i]! + n;
      });
      return { shape: [data.length], data };
    },
    exact: (shape, values) => ({ shape, data: Float64Array.from(values) }),
  };
}
