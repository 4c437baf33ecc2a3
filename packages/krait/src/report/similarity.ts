import { setImmediate as breathe } from "node:timers/promises";
import { throwIfAborted } from "@krait/core";
import type { FeatureBins, Lane } from "./binning.js";
import { type Quantised, quantise } from "./quantise.js";

/** Rows and columns of a similarity matrix, at most. */
export const MATRIX_SIDE = 512;

/** How often the event loop gets its turn, in multiply-adds. */
const WORK_PER_TURN = 1_000_000;

/** One way of looking at the run. Both matrices are symmetric: only rows j ≤ i are kept, row after row. */
export interface SimilarityView {
  /** A modality code, or "all". */
  of: number | "all";
  /** Cosine similarity of two times. */
  raw: Quantised;
  /** The same after the mean over all time is taken away, which shows what differs where everything looks alike. */
  centred: Quantised;
}

export interface Similarity {
  /** Times per side. */
  side: number;
  /** Seconds per step. */
  width: number;
  views: SimilarityView[];
}

/**
 * Compares every time with every other. `all` adds the unit vectors of the modalities, so that none outweighs another by
 * its number of tokens.
 */
export async function similarity(
  bins: FeatureBins,
  lanes: [number, Lane][],
  options: { side?: number; signal?: AbortSignal | undefined } = {},
): Promise<Similarity> {
  const factor = Math.max(1, Math.ceil(bins.count / (options.side ?? MATRIX_SIDE)));
  const side = Math.ceil(bins.count / factor);
  const { dim } = bins;
  const all = new Float64Array(side * dim);
  const views: SimilarityView[] = [];
  for (const [code, lane] of lanes) {
    const rows = pooledRows(lane, bins.count, side, factor, dim);
    for (let i = 0; i < side; i++) addUnit(all, rows, i, dim);
    await breathe();
    views.push({ of: code, ...(await compare(rows, side, dim, options.signal)) });
  }
  if (lanes.length > 1) views.unshift({ of: "all", ...(await compare(all, side, dim, options.signal)) });
  return { side, width: bins.width * factor, views };
}

/** Sums over `factor` bins at a time, [side, dim]; a time without tokens stays zero. */
function pooledRows(lane: Lane, count: number, side: number, factor: number, dim: number): Float64Array {
  const rows = new Float64Array(side * dim);
  for (let bin = 0; bin < count; bin++) {
    const to = Math.floor(bin / factor) * dim;
    for (let d = 0; d < dim; d++) rows[to + d]! += lane.sums[bin * dim + d]!;
  }
  // Means, not sums: centring must not favour a time with many tokens.
  for (let i = 0; i < side; i++) {
    let weight = 0;
    for (let bin = i * factor; bin < Math.min(count, (i + 1) * factor); bin++) weight += lane.weights[bin]!;
    if (weight > 0) for (let d = 0; d < dim; d++) rows[i * dim + d]! /= weight;
  }
  return rows;
}

function addUnit(into: Float64Array, rows: Float64Array, row: number, dim: number): void {
  let square = 0;
  for (let d = 0; d < dim; d++) square += rows[row * dim + d]! ** 2;
  if (square === 0) return;
  const scale = 1 / Math.sqrt(square);
  for (let d = 0; d < dim; d++) into[row * dim + d]! += rows[row * dim + d]! * scale;
}

async function compare(
  rows: Float64Array,
  side: number,
  dim: number,
  signal: AbortSignal | undefined,
): Promise<{ raw: Quantised; centred: Quantised }> {
  const raw = await cosines(rows, side, dim, signal);
  await breathe();
  const less = withoutMean(rows, raw, side, dim);
  await breathe();
  const centred = await cosines(less, side, dim, signal);
  await breathe();
  return { raw: quantise(raw), centred: quantise(centred) };
}

/** Rows less their mean; a row without tokens, whose cosine with itself is NaN, takes no part. */
function withoutMean(rows: Float64Array, cosines: Float64Array, side: number, dim: number): Float64Array {
  const present: number[] = [];
  for (let i = 0; i < side; i++) if (!Number.isNaN(cosines[triangle(i, i)]!)) present.push(i);
  const mean = new Float64Array(dim);
  for (const i of present) for (let d = 0; d < dim; d++) mean[d]! += rows[i * dim + d]! / present.length;
  const out = new Float64Array(rows.length);
  for (const i of present) for (let d = 0; d < dim; d++) out[i * dim + d] = rows[i * dim + d]! - mean[d]!;
  return out;
}

/** Where the pair (i, j ≤ i) lies in a packed lower triangle. */
export function triangle(i: number, j: number): number {
  return (i * (i + 1)) / 2 + j;
}

/** Packed lower triangle of cosines; NaN where a row is zero. */
async function cosines(
  rows: Float64Array,
  side: number,
  dim: number,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const out = new Float64Array(triangle(side, 0));
  const norms = new Float64Array(side);
  let work = 0;
  for (let i = 0; i < side; i++) {
    const a = rows.subarray(i * dim, (i + 1) * dim);
    for (let j = 0; j <= i; j++) {
      const at = j * dim;
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += a[d]! * rows[at + d]!;
      if (i === j) norms[i] = Math.sqrt(dot);
      out[triangle(i, j)] = dot;
    }
    for (let j = 0; j <= i; j++) {
      const cosine = out[triangle(i, j)]! / (norms[i]! * norms[j]!);
      out[triangle(i, j)] = Number.isNaN(cosine) ? cosine : Math.min(1, Math.max(-1, cosine));
    }
    work += (i + 1) * dim;
    if (work > WORK_PER_TURN) {
      work = 0;
      await breathe();
      throwIfAborted(signal, "the report");
    }
  }
  return out;
}
