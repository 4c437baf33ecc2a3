import type { RowNormalizer } from "./frame-stream.js";
import { MelNormalizer } from "./mel-normalizer.js";

/** Where the numbers of a normalisation come from: the whole signal (two passes), constants, or all that was heard so far. */
export type NormalizationMode = "exact" | "fixed" | "running";

/** What is done to the rows of a spectral front end last. */
export type MelNormalization =
  | { readonly kind: "none" }
  /** (x − mean) / (2 · std), one number each, as AST does. */
  | { readonly kind: "scale"; readonly mean: number; readonly std: number }
  /** (max(x, max − 8) + 4) / 4 of log10 powers, as Whisper does. `fixedMax` serves mode "fixed". */
  | { readonly kind: "whisper"; readonly mode: NormalizationMode; readonly fixedMax: number }
  /**
   * (x − mean) / deviation per feature, over all frames with n − 1; the deviation is √variance + epsilon, or √(variance + epsilon) where
   * `inside`. Mode "fixed" takes `mean` and `std`: 0 and 1 where absent. `meanOnly` subtracts and does not divide.
   */
  | {
      readonly kind: "features";
      readonly mode: NormalizationMode;
      readonly epsilon: number;
      readonly inside?: boolean;
      readonly meanOnly?: boolean;
      readonly mean?: ArrayLike<number> | undefined;
      readonly std?: ArrayLike<number> | undefined;
    };

/** What a first pass finds. */
export interface RowStatistics {
  readonly frames: number;
  /** The greatest value; −∞ without a frame. */
  readonly peak: number;
  /** Per feature; the variance is over n − 1, 0 for one frame. */
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

/** Gathers statistics row by row (Welford 1962), in float64. */
export class RowSurvey {
  private frames = 0;
  private peak = Number.NEGATIVE_INFINITY;
  private readonly mean: Float64Array;
  private readonly squares: Float64Array;

  constructor(private readonly bins: number) {
    this.mean = new Float64Array(bins);
    this.squares = new Float64Array(bins);
  }

  add(rows: Float32Array): void {
    for (let at = 0; at < rows.length; at += this.bins) {
      this.frames++;
      for (let b = 0; b < this.bins; b++) {
        const x = rows[at + b]!;
        if (x > this.peak) this.peak = x;
        const delta = x - this.mean[b]!;
        this.mean[b] = this.mean[b]! + delta / this.frames;
        this.squares[b] = this.squares[b]! + delta * (x - this.mean[b]!);
      }
    }
  }

  get statistics(): RowStatistics {
    const { frames, peak } = this;
    const variance = this.squares.map((sum) => sum / Math.max(1, frames - 1));
    return { frames, peak, mean: this.mean.slice(), variance };
  }
}

/** The last step of a stream. Mode "exact" needs the statistics of the whole signal. */
export function openNormalizer(
  normalization: MelNormalization,
  bins: number,
  statistics: RowStatistics | undefined,
): RowNormalizer {
  switch (normalization.kind) {
    case "none":
      return { apply: () => undefined };
    case "scale": {
      const { mean, std } = normalization;
      return {
        apply(rows) {
          for (let i = 0; i < rows.length; i++) rows[i] = (rows[i]! - mean) / (2 * std);
        },
      };
    }
    case "whisper": {
      const { mode, fixedMax } = normalization;
      return new MelNormalizer(bins, mode === "running" ? "running" : mode === "fixed" ? fixedMax : statistics!.peak);
    }
    case "features":
      return featureNormalizer(normalization, bins, statistics);
  }
}

function featureNormalizer(
  normalization: MelNormalization & { kind: "features" },
  bins: number,
  statistics: RowStatistics | undefined,
): RowNormalizer {
  const { mode, epsilon, inside, meanOnly } = normalization;
  const deviation = (variance: number) => {
    if (meanOnly) return 1;
    return inside ? Math.sqrt(variance + epsilon) : Math.sqrt(variance) + epsilon;
  };
  const normalize = (rows: Float32Array, mean: ArrayLike<number>, divisor: ArrayLike<number>) => {
    for (let i = 0; i < rows.length; i++) rows[i] = (rows[i]! - mean[i % bins]!) / divisor[i % bins]!;
  };
  if (mode === "running") {
    const survey = new RowSurvey(bins);
    return {
      apply(rows) {
        for (let at = 0; at < rows.length; at += bins) {
          const row = rows.subarray(at, at + bins);
          survey.add(row);
          const { mean, variance } = survey.statistics;
          normalize(row, mean, variance.map(deviation));
        }
      },
    };
  }
  const { mean, std } = normalization;
  const zeros = new Float64Array(bins);
  const [m, d] =
    mode === "exact"
      ? [statistics!.mean, statistics!.variance.map(deviation)]
      : [mean ?? zeros, meanOnly || !std ? zeros.map(() => 1) : Float64Array.from(std, (s) => s + epsilon)];
  return { apply: (rows) => normalize(rows, m, d) };
}
