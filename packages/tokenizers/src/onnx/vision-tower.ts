import { type Closable, expected, InputError, parseOptions } from "@krait/core";
import type { Device } from "@krait/runtime";
import { z } from "zod";
import { pull } from "../pull.js";
import type { VideoFrame } from "../video/index.js";
import { ImageProcessor, type ImageProcessorOptions } from "../vision/index.js";
import { type OnnxModel, openOnnx } from "./model.js";

const towerSchema = z.strictObject({
  model: z.string().min(1),
  processor: z.custom<ImageProcessorOptions>(
    (value) => typeof value === "object" && value !== null,
    "image processor options",
  ),
  /** Names in the model. */
  input: z.string().default("pixel_values"),
  output: z.string().default("last_hidden_state"),
  /** One row per picture, [batch, dim], as `pooler_output` and `image_embeds`; otherwise [batch, tokens, dim]. */
  pooled: z.boolean().default(false),
  /** Pictures per run. */
  batch: z.number().int().min(1).max(256).default(8),
  threads: z.number().int().min(1).max(1024).optional(),
  /** A CPU device on whose threads pictures are resized; without one they are resized on the event loop. */
  device: z.custom<Device>((value) => typeof value === "object" && value !== null, "an open device").optional(),
  signal: z.instanceof(AbortSignal).optional(),
});
export type VisionTowerOptions = Omit<z.input<typeof towerSchema>, "signal"> & { signal?: AbortSignal | undefined };

/** What a tower makes of one picture: `features` [tokens, dim], with the picture's own times in seconds. */
export interface TowerPart {
  readonly features: Float32Array;
  readonly tokens: number;
  readonly dim: number;
  readonly start: number;
  readonly end: number;
}

/**
 * Opens a vision tower in the style of CLIP and SigLIP: normalised pixels [batch, 3, height, width] to features. The processor must give one size.
 * Throws what `openOnnx` throws.
 */
export async function openVisionTower(given: VisionTowerOptions): Promise<VisionTower> {
  const options = parseOptions(towerSchema, given, "openVisionTower()");
  const processor = new ImageProcessor(options.processor, options.device);
  const { width, height } = processor.sizeOf({ width: 64, height: 64 });
  const { input, output, pooled } = options;
  const model = await openOnnx({
    model: options.model,
    inputs: { [input]: { dtype: "f32", shape: ["batch", 3, height, width] } },
    outputs: { [output]: { dtype: "f32", shape: pooled ? ["batch", "dim"] : ["batch", "tokens", "dim"] } },
    ...(options.threads !== undefined && { threads: options.threads }),
    signal: options.signal,
  });
  return new VisionTower(model, processor, { input, output, batch: options.batch, width, height });
}

interface Names {
  input: string;
  output: string;
  batch: number;
  width: number;
  height: number;
}

export class VisionTower implements Closable {
  /** @internal use openVisionTower */
  constructor(
    private readonly model: OnnxModel,
    private readonly processor: ImageProcessor,
    private readonly names: Names,
  ) {}

  /** Features of pictures as they come, one part per picture. Holds one batch. Throws what the processor and `OnnxModel.run` throw. */
  async *embed(
    frames: AsyncIterable<VideoFrame>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<TowerPart, void, undefined> {
    const { batch, width, height } = this.names;
    const plane = 3 * width * height;
    let waiting: VideoFrame[] = [];
    let values = new Float32Array(batch * plane);
    for await (const frame of pull(frames, signal, "the vision tower")) {
      values.set((await this.processor.run(frame)).values, waiting.length * plane);
      waiting.push(frame);
      if (waiting.length < batch) continue;
      yield* this.run(values, waiting, signal);
      waiting = [];
      values = new Float32Array(batch * plane);
    }
    if (waiting.length > 0) yield* this.run(values.subarray(0, waiting.length * plane), waiting, signal);
  }

  close(): Promise<void> {
    return this.model.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async *run(values: Float32Array, frames: readonly VideoFrame[], signal: AbortSignal | undefined) {
    const { input, output, width, height } = this.names;
    const count = frames.length;
    const results = await this.model.run({ [input]: { shape: [count, 3, height, width], data: values } }, { signal });
    const { shape, data } = results[output]!;
    if (shape[0] !== count) {
      throw new InputError(expected(`${count} rows`, `the output ${output}`, shape[0]), {
        code: "ONNX_MISMATCH",
        hint: "The model must keep the first dimension of its input.",
      });
    }
    const [tokens, dim] = shape.length === 2 ? [1, shape[1]!] : [shape[1]!, shape[2]!];
    for (const [i, { start, end }] of frames.entries()) {
      const features = (data as Float32Array).slice(i * tokens * dim, (i + 1) * tokens * dim);
      yield { features, tokens, dim, start, end };
    }
  }
}
