import { createSafetensorsWriter, type SafetensorsWriter } from "@krait/formats";
import type { ModelIdentity } from "./encoder.js";
import type { FeaturePart } from "./features.js";
import { version } from "./version.js";

type Columns = "features" | "times" | "modality";

/**
 * Writes features as they come: safetensors with `features` [tokens, dim] f32, `times` [tokens, 2] f64 seconds and `modality`
 * [tokens] u8 (0 text, 1 audio, 2 video or image, 255 separator). The file appears under its name when it is whole.
 */
export class FeatureFileWriter {
  private constructor(private readonly writer: SafetensorsWriter<Columns>) {}

  static async create(path: string, dim: number, model: ModelIdentity, options: unknown): Promise<FeatureFileWriter> {
    const writer = await createSafetensorsWriter<Columns>(path, {
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

  finish(signal?: AbortSignal): Promise<void> {
    return this.writer.finish(signal ? { signal } : {});
  }

  /** Leaves nothing behind unless finished. */
  abort(): Promise<void> {
    return this.writer.abort();
  }
}
