import { expected, InputError } from "@krait/core";
import type { RowWriter } from "@krait/formats";
import { createRowFile } from "../row-file.js";

/** Where the rows of a front end go. */
export interface RowSink {
  append(dim: number, features: Float32Array, times: Float64Array, count: number): Promise<void>;
  /** Makes sure that the file exists when no row came. */
  ready(dim: number): Promise<void>;
}

/**
 * Writes `features` [tokens, dim] f32 and `times` [tokens, 2] f64, seconds, as they come. The file is opened with the first row, which
 * tells its width.
 */
export class FeatureSink implements RowSink {
  private writer: RowWriter<"features" | "times"> | undefined;
  dim = 0;
  /** Seconds. */
  end = 0;

  constructor(
    private readonly path: string,
    private readonly metadata: Record<string, string>,
    private readonly onRows: (tokens: number, seconds: number) => void,
  ) {}

  get rows(): number {
    return this.writer?.rows ?? 0;
  }

  async append(dim: number, features: Float32Array, times: Float64Array, count: number): Promise<void> {
    await this.ready(dim);
    if (dim !== this.dim) {
      throw new InputError(expected(`rows of ${this.dim} numbers, as the first`, "the features", dim), {
        code: "ROW_SIZE_CHANGES",
        hint: "The pictures change their size: choose a preset with a fixed size, or give one.",
      });
    }
    await this.writer!.append({ features, times }, count);
    if (count > 0) this.end = times[2 * count - 1]!;
    this.onRows(this.rows, this.end);
  }

  async ready(dim: number): Promise<void> {
    if (this.writer !== undefined) return;
    this.dim = dim;
    this.writer = await createRowFile(this.path, {
      tensors: { features: { dtype: "f32", rowShape: [dim] }, times: { dtype: "f64", rowShape: [2] } },
      metadata: this.metadata,
    });
  }

  async finish(signal: AbortSignal | undefined): Promise<void> {
    await this.writer?.finish(signal ? { signal } : {});
  }

  async abort(): Promise<void> {
    await this.writer?.abort();
  }
}
