import { setImmediate as breathe } from "node:timers/promises";
import { throwIfAborted } from "@krait/core";
import type { FeatureBins, Lane } from "./binning.js";
import { type Quantised, quantise } from "./quantise.js";

/** Rows of a heat map. */
export const HEAT_ROWS = 64;

/** One modality as the page draws it; every curve has one value per time bin. */
export interface TrackData {
  code: number;
  /** Which features the heat map shows, ascending. */
  dims: number[];
  /** [dims, bins]: standard deviations from the feature's own mean over time, clamped to ±3. */
  heat: Quantised;
  /** Cosine distance to the previous bin that holds a token. */
  change: Quantised;
  /** Mean Euclidean norm of the tokens. */
  norm: Quantised;
  /** Cosine similarity to the pooled untimed text, if there is some. */
  text?: Quantised;
}

/** Pools what one lane gathered into the tracks of the page, with turns of the event loop in between. Throws `AbortedError`. */
export async function trackData(
  code: number,
  lane: Lane,
  bins: FeatureBins,
  { text, signal }: { text?: Float64Array | undefined; signal?: AbortSignal | undefined } = {},
): Promise<TrackData> {
  const { dim, count } = bins;
  const turn = async () => {
    await breathe();
    throwIfAborted(signal, "the report");
  };
  const dims = liveliestDims(lane, count, dim);
  await turn();
  const heat = heatMap(lane, count, dim, dims);
  await turn();
  const track: TrackData = {
    code,
    dims: dims.map(({ d }) => d),
    heat: quantise(heat, { lo: -3, hi: 3 }),
    change: quantise(changeCurve(lane, count, dim)),
    norm: quantise(perBin(lane, count, (bin) => lane.norms[bin]! / lane.weights[bin]!)),
  };
  await turn();
  if (!text) return track;
  const alike = perBin(lane, count, (bin) => cosine(lane.sums.subarray(bin * dim, (bin + 1) * dim), text));
  return { ...track, text: quantise(alike) };
}

/** Cosine of two vectors; NaN where one is zero. Scale does not matter, so sums serve as well as means. */
export function cosine(a: Float64Array, b: Float64Array): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let d = 0; d < a.length; d++) {
    dot += a[d]! * b[d]!;
    aa += a[d]! ** 2;
    bb += b[d]! ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}

function perBin(lane: Lane, count: number, value: (bin: number) => number): Float64Array {
  return Float64Array.from({ length: count }, (_, bin) => (lane.weights[bin]! > 0 ? value(bin) : Number.NaN));
}

function changeCurve(lane: Lane, count: number, dim: number): Float64Array {
  const row = (bin: number) => lane.sums.subarray(bin * dim, (bin + 1) * dim);
  let previous = -1;
  return perBin(lane, count, (bin) => {
    const distance = previous < 0 ? Number.NaN : Math.max(0, 1 - cosine(row(previous), row(bin)));
    previous = bin;
    return distance;
  });
}

interface DimStatistics {
  d: number;
  mean: number;
  deviation: number;
}

/** The features that vary most over time, in order of their index. */
function liveliestDims(lane: Lane, count: number, dim: number): DimStatistics[] {
  const means = new Float64Array(dim);
  const squares = new Float64Array(dim);
  let filled = 0;
  // Welford's recurrence: sums of squares cancel badly where the mean is large.
  for (let bin = 0; bin < count; bin++) {
    if (!(lane.weights[bin]! > 0)) continue;
    filled++;
    for (let d = 0; d < dim; d++) {
      const value = lane.sums[bin * dim + d]! / lane.weights[bin]!;
      const delta = value - means[d]!;
      means[d]! += delta / filled;
      squares[d]! += delta * (value - means[d]!);
    }
  }
  const statistics = Array.from(means, (mean, d): DimStatistics => {
    return { d, mean, deviation: filled > 0 ? Math.sqrt(squares[d]! / filled) : 0 };
  });
  return statistics
    .sort((a, b) => b.deviation - a.deviation)
    .slice(0, HEAT_ROWS)
    .sort((a, b) => a.d - b.d);
}

function heatMap(lane: Lane, count: number, dim: number, dims: DimStatistics[]): Float64Array {
  const heat = new Float64Array(dims.length * count).fill(Number.NaN);
  for (const [row, { d, mean, deviation }] of dims.entries()) {
    for (let bin = 0; bin < count; bin++) {
      const weight = lane.weights[bin]!;
      if (!(weight > 0)) continue;
      heat[row * count + bin] = deviation > 0 ? (lane.sums[bin * dim + d]! / weight - mean) / deviation : 0;
    }
  }
  return heat;
}
