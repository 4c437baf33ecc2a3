import { expected, UsageError } from "@krait/core";

/** Codes of the feature file's `modality` tensor. */
export const modalityCode = { text: 0, audio: 1, video: 2, class: 254, separator: 255 } as const;

/** A chunk of encoder output. Times in seconds. */
export interface FeatureChunk {
  /** Row-major [tokens, dim]. */
  features: Float32Array;
  /** [tokens] */
  start: Float64Array;
  /** [tokens] */
  end: Float64Array;
  /** [tokens], codes as in {@link modalityCode}. */
  modality: Uint8Array;
}

/** Sums of one modality, per time bin. A mean is `sums / weights`. */
export interface Lane {
  /** [maxBins, dim] */
  readonly sums: Float64Array;
  /** [maxBins]: how many tokens a bin holds; a token that lies over several bins counts by its share of time. */
  readonly weights: Float64Array;
  /** [maxBins]: summed Euclidean norms of the tokens, weighted alike. */
  readonly norms: Float64Array;
}

/** Tokens that have no place on the time axis, pooled. */
export interface Pooled {
  readonly sum: Float64Array;
  tokens: number;
}

const FIRST_WIDTH = 1 / 64;

/**
 * Pools features over time in bounded memory: at most `maxBins` bins whose width doubles whenever time outgrows them.
 *
 * A token adds to each bin the share of its duration that lies in it (all of it, if its duration is zero), so merging two
 * neighbours gives what the wider bin would have gathered: the result does not depend on the chunks or on when widths doubled.
 * Text at one point in time before all else or after all else is untimed and pooled apart; separators and the class token are only counted.
 */
export class FeatureBins {
  readonly tokens = { text: 0, audio: 0, video: 0, class: 0, separator: 0 };
  /** Tokens left out because a feature was NaN or infinite. */
  nonFinite = 0;
  /** Seconds; the latest end of a timed token. */
  maxEnd = 0;
  #width = FIRST_WIDTH;
  #used = 0;
  readonly #lanes = new Map<number, Lane>();
  readonly #prefix: Pooled;
  /** Text at one later point: a suffix, until something proves to come after it. */
  #pending: (Pooled & { time: number; norm: number }) | undefined;
  readonly #row: Float64Array;

  constructor(
    readonly dim: number,
    readonly maxBins = 1024,
  ) {
    this.#prefix = { sum: new Float64Array(dim), tokens: 0 };
    this.#row = new Float64Array(dim);
  }

  /** Seconds per bin, a power of two. */
  get width(): number {
    return this.#width;
  }

  /** Bins in use, from time zero on; never above `maxBins`. */
  get count(): number {
    return this.#used;
  }

  get prefix(): Readonly<Pooled> {
    return this.#prefix;
  }

  get suffix(): Readonly<Pooled> | undefined {
    return this.#pending;
  }

  /** The sums of one modality, absent while it has no timed token. */
  lane(code: number): Lane | undefined {
    return this.#lanes.get(code);
  }

  /** @throws UsageError INVALID_FEATURES where lengths disagree, a time is not finite or runs backwards, or a code is unknown; nothing is added then. */
  add(chunk: FeatureChunk): void {
    this.#check(chunk);
    const { start, end, modality } = chunk;
    const tokens = modality.length;
    for (let from = 0; from < tokens; ) {
      const code = modality[from]!;
      if (code === modalityCode.separator || code === modalityCode.class) {
        this.tokens[code === modalityCode.class ? "class" : "separator"]++;
        from++;
        continue;
      }
      // The patches of a frame share their times: they are summed first and spread over the bins once.
      let to = from + 1;
      while (to < tokens && modality[to] === code && start[to] === start[from] && end[to] === end[from]) to++;
      this.#addRun(chunk.features, from, to, code, Math.max(0, start[from]!), Math.max(0, end[from]!));
      from = to;
    }
  }

  #addRun(features: Float32Array, from: number, to: number, code: number, start: number, end: number): void {
    const { dim } = this;
    const row = this.#row.fill(0);
    let norm = 0;
    let count = 0;
    for (let token = from; token < to; token++) {
      const at = token * dim;
      let square = 0;
      for (let d = 0; d < dim; d++) square += features[at + d]! ** 2;
      if (!Number.isFinite(square)) {
        this.nonFinite++;
        continue;
      }
      norm += Math.sqrt(square);
      count++;
      for (let d = 0; d < dim; d++) row[d]! += features[at + d]!;
    }
    const name = code === modalityCode.text ? "text" : code === modalityCode.audio ? "audio" : "video";
    this.tokens[name] += to - from;

    if (this.#pending && end > this.#pending.time) this.#settlePending();
    if (code === modalityCode.text && start === end) {
      if (end === 0) {
        accumulate(this.#prefix.sum, row);
        this.#prefix.tokens += count;
        return;
      }
      if (end >= this.maxEnd) {
        this.#pending ??= { sum: new Float64Array(dim), tokens: 0, time: end, norm: 0 };
        accumulate(this.#pending.sum, row);
        this.#pending.tokens += count;
        this.#pending.norm += norm;
        return;
      }
    }
    this.#spread(code, row, norm, count, start, end);
  }

  #settlePending(): void {
    const { sum, norm, tokens, time } = this.#pending!;
    this.#pending = undefined;
    this.#spread(modalityCode.text, sum, norm, tokens, time, time);
  }

  #spread(code: number, row: Float64Array, norm: number, count: number, start: number, end: number): void {
    this.maxEnd = Math.max(this.maxEnd, end);
    while (lastBin(start, end, this.#width) >= this.maxBins) this.#double();
    const first = Math.floor(start / this.#width);
    const last = lastBin(start, end, this.#width);
    this.#used = Math.max(this.#used, last + 1);
    if (count === 0) return;
    const lane = this.#laneFor(code);
    for (let bin = first; bin <= last; bin++) {
      const overlap = Math.min(end, (bin + 1) * this.#width) - Math.max(start, bin * this.#width);
      const share = first === last ? 1 : overlap / (end - start);
      lane.weights[bin]! += share * count;
      lane.norms[bin]! += share * norm;
      const at = bin * this.dim;
      for (let d = 0; d < this.dim; d++) lane.sums[at + d]! += share * row[d]!;
    }
  }

  #laneFor(code: number): Lane {
    let lane = this.#lanes.get(code);
    if (!lane) {
      const { dim, maxBins } = this;
      lane = {
        sums: new Float64Array(maxBins * dim),
        weights: new Float64Array(maxBins),
        norms: new Float64Array(maxBins),
      };
      this.#lanes.set(code, lane);
    }
    return lane;
  }

  #double(): void {
    this.#width *= 2;
    this.#used = Math.ceil(this.#used / 2);
    for (const { sums, weights, norms } of this.#lanes.values()) {
      mergeNeighbours(sums, this.dim);
      mergeNeighbours(weights, 1);
      mergeNeighbours(norms, 1);
    }
  }

  #check({ features, start, end, modality }: FeatureChunk): void {
    const tokens = modality.length;
    const fail = (what: string, name: string, received: unknown): never => {
      throw new UsageError(expected(what, name, received), {
        code: "INVALID_FEATURES",
        hint: "Pass features [tokens, dim] with one start, end (seconds, start <= end) and modality code per token.",
      });
    };
    if (features.length !== tokens * this.dim)
      fail(`${tokens} x ${this.dim} values`, "features", `${features.length} values`);
    if (start.length !== tokens) fail(`${tokens} times`, "start", start.length);
    if (end.length !== tokens) fail(`${tokens} times`, "end", end.length);
    for (let i = 0; i < tokens; i++) {
      const code = modality[i]!;
      if (code > modalityCode.video && code !== modalityCode.separator && code !== modalityCode.class)
        fail("a code of 0, 1, 2, 254 or 255", `modality[${i}]`, code);
      if (!Number.isFinite(start[i])) fail("a finite time", `start[${i}]`, start[i]);
      if (!Number.isFinite(end[i]) || end[i]! < start[i]!)
        fail(`a finite time from ${start[i]} on`, `end[${i}]`, end[i]);
    }
  }
}

function lastBin(start: number, end: number, width: number): number {
  return Math.max(Math.floor(start / width), Math.ceil(end / width) - 1);
}

function accumulate(into: Float64Array, row: Float64Array): void {
  for (let d = 0; d < row.length; d++) into[d]! += row[d]!;
}

/** Adds rows 2i and 2i+1 into row i of [rows, size] and clears the rest. */
function mergeNeighbours(values: Float64Array, size: number): void {
  const rows = values.length / size;
  const half = Math.ceil(rows / 2);
  for (let row = 0; row < half; row++) {
    for (let d = 0; d < size; d++) {
      const second = 2 * row + 1 < rows ? values[(2 * row + 1) * size + d]! : 0;
      values[row * size + d] = values[2 * row * size + d]! + second;
    }
  }
  values.fill(0, half * size);
}
