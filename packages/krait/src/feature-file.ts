import type { RowWriter } from "@krait/formats";
import type { ModelIdentity } from "./encoder.js";
import type { FeaturePart } from "./features.js";
import { createRowFile } from "./row-file.js";
import { version } from "./version.js";

type Columns = "features" | "times" | "modality";

export interface FeatureFileOptions {
  dim: number;
  model: ModelIdentity;
  /** What was asked for, as it is stored with the features. */
  options: unknown;
  /** Rows that an interrupted run left, to go on behind. */
  resumeRows?: number | undefined;
}

/**
 * Writes features as they come: `features` [tokens, dim] f32, `times` [tokens, 2] f64 seconds and `modality` [tokens] u8 (0 text, 1 audio,
 * 2 video or image, 254 class token, 255 separator), as safetensors or, for a name that ends in .npy, as three npy files. The result appears under its name
 * when it is whole; until then rows lie in `path.partial…`, which `inspectFeatures()` reads.
 */
export class FeatureFileWriter {
  private constructor(private readonly writer: RowWriter<Columns>) {}

  static async create(
    path: string,
    { dim, model, options, resumeRows }: FeatureFileOptions,
  ): Promise<FeatureFileWriter> {
    const writer = await createRowFile<Columns>(path, {
      tensors: {
        features: { dtype: "f32", rowShape: [dim] },
        times: { dtype: "f64", rowShape: [2] },
        modality: { dtype: "u8", rowShape: [] },
      },
      metadata: {
        "krait.version": version,
        "model.sha256": model.sha256,
        "model.name": model.name,
        "model.random": String(model.random),
        options: JSON.stringify(options),
      },
      // Whether they are worth keeping is for the run to say.
      keepOnError: true,
      resumeRows,
    });
    return new FeatureFileWriter(writer);
  }

  /** Rows written so far. */
  get rows(): number {
    return this.writer.rows;
  }

  async append({ features, start, end, modality, count }: FeaturePart): Promise<void> {
    const times = new Float64Array(2 * count);
    for (let i = 0; i < count; i++) {
      times[2 * i] = start[i]!;
      times[2 * i + 1] = end[i]!;
    }
    await this.writer.append({ features, times, modality }, count);
  }

  /** Sees to it that all rows so far are on the disk. */
  flush(): Promise<void> {
    return this.writer.flush();
  }

  finish(signal?: AbortSignal): Promise<void> {
    return this.writer.finish(signal ? { signal } : {});
  }

  /** Leaves the rows so far for `inspectFeatures()` and a later run; nothing to do when finished. */
  leave(): Promise<void> {
    return this.writer.leave();
  }

  /** Leaves nothing behind unless finished. */
  abort(): Promise<void> {
    return this.writer.abort();
  }
}
