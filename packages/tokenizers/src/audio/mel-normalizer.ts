/** log10 of the smallest power that counts. */
const silenceLog = -10;
/** How far below the maximum the floor lies, in powers of ten. */
const range = 8;

const scaled = (log: number) => (log + 4) / 4;

/**
 * `(max(x, max − 8) + 4) / 4` in place, for log10 powers [frames, bins]. The maximum is a number, or `running`: that of all frames
 * up to and including the current one, or `none`: the powers stay as they are and only the peak is kept.
 */
export class MelNormalizer {
  /** The greatest log10 power so far; −∞ before the first frame. */
  peak = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly melBins: number,
    private readonly max: number | "running" | "none",
  ) {}

  apply(rows: Float32Array): void {
    if (this.max !== "running") {
      this.raisePeak(rows);
      if (this.max !== "none") normalizeMel(rows, this.max);
      return;
    }
    for (let at = 0; at < rows.length; at += this.melBins) {
      const row = rows.subarray(at, at + this.melBins);
      this.raisePeak(row);
      normalizeMel(row, this.peak);
    }
  }

  /** What a frame of digital silence would be here. */
  get silence(): number {
    return scaled(Math.max(silenceLog, this.currentMax - range));
  }

  private raisePeak(rows: Float32Array): void {
    let { peak } = this;
    for (let i = 0; i < rows.length; i++) if (rows[i]! > peak) peak = rows[i]!;
    this.peak = peak;
  }

  private get currentMax(): number {
    return typeof this.max === "number" ? this.max : this.peak;
  }
}

export function normalizeMel(rows: Float32Array, max: number): void {
  const floor = max - range;
  for (let i = 0; i < rows.length; i++) rows[i] = scaled(Math.max(rows[i]!, floor));
}
