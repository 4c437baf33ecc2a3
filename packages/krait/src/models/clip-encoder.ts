import { type Closable, expected, parseOptions, throwIfAborted, UsageError } from "@krait/core";
import { type ClipFeatures, type FeatureEncoder, loadFeatureEncoder } from "@krait/nn";
import { type Device, openDevice } from "@krait/runtime";
import { astDefinition, type ImageProcessorOptions, imagePreset } from "@krait/tokenizers";
import { z } from "zod";
import { tokenizeAudio } from "../tokenize/audio.js";
import { tokenizeImages } from "../tokenize/images.js";
import { tokenizeSchema } from "../tokenize/options.js";
import type { RowSink } from "../tokenize/sink.js";
import { publishedOptions } from "./published-options.js";

const loadSchema = z.strictObject({
  ...publishedOptions,
  /** Clips in one native run. */
  maxClips: z.int().positive().max(1024).default(1),
  signal: z.instanceof(AbortSignal).optional(),
});
export type LoadClipEncoderOptions = z.input<typeof loadSchema>;

export interface ReadClipOptions {
  /** Seconds on the container's timeline: [start, end). */
  start?: number | undefined;
  end?: number | undefined;
  /** Of the spectrogram, where the model was not trained on AudioSet's −4.2677393 and 4.5689974; values are (x − mean) / (2 · std). */
  mean?: number | undefined;
  std?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A published encoder (VideoMamba, Vim, AuM) on a device of its own: whole clips, pictures or spectrograms in, features out. */
export class ClipEncoder implements Closable {
  /** @internal */
  constructor(
    readonly device: Device,
    private readonly native: FeatureEncoder,
  ) {}

  get family(): string {
    return this.native.description.family;
  }

  /** Numbers per token. */
  get width(): number {
    return this.native.width;
  }

  /** Tokens of a clip along time (or tubelets), rows and columns; `ClipFeatures.features` has one row for each. */
  get grid(): { frames: number; rows: number; columns: number } {
    return { ...this.native.description.grid };
  }

  /**
   * @param clips of each the normalised values: [frames, channels, rows, columns], or [frames, bins] of a spectrogram
   * @throws UsageError (INPUT_SIZE), AbortedError
   */
  encode(clips: readonly Float32Array[], options: { signal?: AbortSignal | undefined } = {}): Promise<ClipFeatures[]> {
    return this.native.encode(clips, options);
  }

  /**
   * One clip of a file as the family's published evaluation reads it: as many frames as the model takes, spread over the range, or a
   * spectrogram that is cut or filled up with zeros.
   *
   * @throws what `decode` throws; UsageError (INPUT_SIZE) for a range with too few frames
   */
  async read(path: string, { start, end, mean, std, signal }: ReadClipOptions = {}): Promise<Float32Array> {
    throwIfAborted(signal, "reading a clip");
    const { layout, input } = this.native.description;
    const sink = new MemorySink();
    const range = { ...(start !== undefined && { start }), ...(end !== undefined && { end }), signal };
    const plan = (count?: number) =>
      parseOptions(tokenizeSchema, { preset: "", out: "-", ...range, ...(count !== undefined && { count }) }, "read()");
    if (layout === "spectrogram") {
      if (input.rows !== 128) {
        throw new UsageError(expected("a model of 128 mel bins", "read()", input.rows), {
          code: "INPUT_SIZE",
          hint: "Make the spectrogram yourself and give it to encode().",
        });
      }
      const definition = astDefinition({
        frames: input.columns,
        ...(mean !== undefined && { mean }),
        ...(std !== undefined && { std }),
      });
      await tokenizeAudio(
        path,
        { name: "ast", about: "", modality: "audio", definition: () => definition },
        plan(),
        sink,
      );
    } else {
      const options = pictures(input.rows, input.frames > 1);
      const preset = {
        name: this.family,
        about: "",
        modality: "image",
        rows: "frame",
        options: () => options,
      } as const;
      await tokenizeImages(path, preset, plan(input.frames), sink);
    }
    return sink.values();
  }

  async close(): Promise<void> {
    this.native.close();
    await this.device.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Loads VideoMamba, Vim or AuM from a folder with config.json and safetensors; docs/models.md says how to make one of a published .pth.
 *
 *     const encoder = await loadClipEncoder("./videomamba-s16-k400-f8");
 *     const [{ features, classToken }] = await encoder.encode([await encoder.read("talk.mp4", { start: 0, end: 4 })]);
 *
 * @throws InputError for a folder that holds no such model, EnvironmentError for a device that cannot serve
 */
export async function loadClipEncoder(folder: string, options: LoadClipEncoderOptions = {}): Promise<ClipEncoder> {
  const { device: kind, threads, ...rest } = parseOptions(loadSchema, options, "loadClipEncoder()");
  const device = await openDevice({ device: kind, ...(threads !== undefined && { threads }) });
  try {
    return new ClipEncoder(device, await loadFeatureEncoder(device, folder, rest));
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** Video: short side to the crop, by bilinear. Pictures: the crop is 7/8 of the short side, by bicubic, as DeiT's evaluation does it. */
function pictures(side: number, isVideo: boolean): ImageProcessorOptions {
  const video = imagePreset("videomamba", side);
  if (isVideo) return video;
  return { ...video, fit: { kind: "shortest", side: Math.floor(side / 0.875) }, filter: "bicubic" };
}

/** Rows kept in memory: one clip has few. */
class MemorySink implements RowSink {
  private readonly parts: Float32Array[] = [];

  async append(_: number, features: Float32Array): Promise<void> {
    this.parts.push(features.slice());
  }

  async ready(): Promise<void> {}

  values(): Float32Array {
    const all = new Float32Array(this.parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const part of this.parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
