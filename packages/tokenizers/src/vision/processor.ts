import { type Closable, expected, InputError, parseOptions, UsageError } from "@krait/core";
import type { Device, PictureResizer } from "@krait/runtime";
import { z } from "zod";
import { openDeviceResizer } from "./device-resize.js";
import { filterNames } from "./filters.js";
import { type CropPattern, cropBoxes, fittedSize } from "./geometry.js";
import { type Box, Resizer, type Size } from "./resize.js";

const side = z.number().int().min(1).max(16384);
const sizeFields = { width: side, height: side };
const triple = z.tuple([z.number(), z.number(), z.number()]);

export const imageProcessorSchema = z.strictObject({
  /** How the image is brought to size; absent: it keeps its own. */
  fit: z
    .discriminatedUnion("kind", [
      z.strictObject({ kind: z.literal("shortest"), side, longest: side.optional() }),
      z.strictObject({ kind: z.literal("exact"), ...sizeFields }),
      z.strictObject({
        kind: z.literal("letterbox"),
        ...sizeFields,
        fill: z.number().int().min(0).max(255).optional(),
      }),
      z.strictObject({
        kind: z.literal("budget"),
        factor: z.number().int().min(1).max(1024),
        minPixels: z.number().int().min(1),
        maxPixels: z.number().int().min(1),
      }),
    ])
    .optional(),
  filter: z.enum(filterNames).default("bicubic"),
  /** Parts taken from the middle of the resized image; zeros lie beyond one that is smaller. */
  crop: z.strictObject({ ...sizeFields, pattern: z.enum(["centre", "three", "five"]).default("centre") }).optional(),
  /** Bytes times `rescale` plus `offset`: 0 to 1 by default. */
  rescale: z.number().default(1 / 255),
  offset: z.number().default(0),
  /** Then (x − mean) / std per channel R, G, B. */
  mean: triple.default([0, 0, 0]),
  std: triple.refine((std) => !std.includes(0), "three numbers other than 0").default([1, 1, 1]),
});
export type ImageProcessorOptions = z.input<typeof imageProcessorSchema>;

/** RGB24, row by row from the top left, as `decode` and `readImage` give it. */
export interface Picture extends Size {
  readonly pixels: Uint8Array;
}

/** `values` is [3, height, width]: normalised red, then green, then blue. */
export interface PixelValues extends Size {
  readonly values: Float32Array;
}

/** The share of one image's sides beyond which a size is refused: Qwen2-VL's bound. */
const maxAspect = 200;

/**
 * Images to a model's input, as the Pillow path of transformers' image processors makes it: resize → crop → rescale → normalise → CHW.
 * Pixels equal Pillow's to the bit, values differ by rounding of float32.
 *
 * Keeps the tables of the last size seen: made for the frames of one video at a time. With a CPU `device` `run` and `runAll` resize on
 * its threads, off the event loop, to the same values; the device must stay open. Throws `UsageError` (INVALID_OPTION).
 */
export class ImageProcessor implements Closable {
  readonly options: z.output<typeof imageProcessorSchema>;
  /** Value of a byte, per channel. */
  private readonly tables: Float32Array[];
  private plans: { source: Size; resized: Size; parts: Part[] } | undefined;

  constructor(
    options: ImageProcessorOptions = {},
    private readonly device?: Device | undefined,
  ) {
    this.options = parseOptions(imageProcessorSchema, options, "ImageProcessor");
    const { rescale, offset, mean, std } = this.options;
    this.tables = mean.map((m, channel) =>
      Float32Array.from({ length: 256 }, (_, byte) => (byte * rescale + offset - m) / std[channel]!),
    );
  }

  /** Size of what comes of an image. Throws `InputError` (IMAGE_SHAPE_EXTREME). */
  sizeOf(source: Size): Size {
    const { fit, crop } = this.options;
    if (crop) return { width: crop.width, height: crop.height };
    if (fit?.kind === "letterbox") return { width: fit.width, height: fit.height };
    return fit === undefined ? { width: source.width, height: source.height } : this.resized(source);
  }

  /**
   * The image, or its first part where `crop.pattern` takes several.
   * Throws `UsageError` (FRAME_SIZE_MISMATCH), `InputError` (IMAGE_SHAPE_EXTREME).
   */
  process(picture: Picture): PixelValues {
    return this.part(picture, this.plan(picture)[0]!);
  }

  /** All parts that `crop.pattern` takes. Throws as `process`. */
  processAll(picture: Picture): PixelValues[] {
    return this.plan(picture).map((part) => this.part(picture, part));
  }

  /** As `process`, on the device where one was given. The picture may change when this returns. */
  async run(picture: Picture): Promise<PixelValues> {
    return this.partOf(picture, this.plan(picture)[0]!);
  }

  /** As `processAll`, on the device where one was given. */
  async runAll(picture: Picture): Promise<PixelValues[]> {
    return Promise.all(this.plan(picture).map((part) => this.partOf(picture, part)));
  }

  /** Gives up what is kept of the last size. */
  async close(): Promise<void> {
    for (const { onDevice } of this.plans?.parts ?? []) onDevice?.close();
    this.plans = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private resized(source: Size): Size {
    const { width, height } = source;
    if (Math.max(width, height) > maxAspect * Math.min(width, height)) {
      throw new InputError(expected(`sides at most ${maxAspect} : 1`, "an image", `${width} × ${height}`), {
        code: "IMAGE_SHAPE_EXTREME",
        hint: "Cut the image into parts first.",
      });
    }
    const size = this.options.fit ? fittedSize(this.options.fit, source) : source;
    return { width: size.width, height: size.height };
  }

  private plan(picture: Picture): Part[] {
    const { width, height, pixels } = picture;
    if (!(pixels instanceof Uint8Array) || pixels.length !== width * height * 3 || pixels.length === 0) {
      throw new UsageError(
        expected(`${width * height * 3} bytes of RGB24`, `an image of ${width} × ${height}`, pixels?.length),
        { code: "FRAME_SIZE_MISMATCH", hint: "Three bytes per pixel, without padding between rows." },
      );
    }
    if (this.plans?.source.width === width && this.plans.source.height === height) return this.plans.parts;
    const resized = this.resized(picture);
    const parts = this.boxes(resized).map((box) => this.planPart(picture, resized, box));
    void this.close();
    this.plans = { source: { width, height }, resized, parts };
    return parts;
  }

  private boxes(resized: Size): Box[] {
    const { fit, crop } = this.options;
    if (crop) return cropBoxes(crop.pattern as CropPattern, resized, { width: crop.width, height: crop.height });
    // A letterbox is a crop larger than the image, whose surplus lies evenly around.
    if (fit?.kind === "letterbox") {
      const left = -Math.floor((fit.width - resized.width) / 2) || 0;
      const top = -Math.floor((fit.height - resized.height) / 2) || 0;
      return [{ left, top, width: fit.width, height: fit.height }];
    }
    return [{ left: 0, top: 0, ...resized }];
  }

  private planPart({ width, height }: Size, resized: Size, box: Box): Part {
    const left = Math.max(0, box.left);
    const top = Math.max(0, box.top);
    const inside = {
      left,
      top,
      width: Math.min(resized.width, box.left + box.width) - left,
      height: Math.min(resized.height, box.top + box.height) - top,
    };
    return { box, inside, source: { width, height }, resized };
  }

  private part({ pixels }: Picture, part: Part): PixelValues {
    const { source, resized, inside } = part;
    part.here ??= new Resizer(source, resized, this.options.filter, inside);
    return this.values(part.here.run(pixels), part);
  }

  private async partOf(picture: Picture, part: Part): Promise<PixelValues> {
    if (this.device === undefined) return this.part(picture, part);
    const { source, resized, inside } = part;
    part.onDevice ??= openDeviceResizer(this.device, source, resized, this.options.filter, inside);
    return this.values(await part.onDevice.run(picture.pixels), part);
  }

  private values(bytes: Uint8Array, { box, inside }: Part): PixelValues {
    const { width, height } = box;
    const plane = width * height;
    const values = new Float32Array(3 * plane);
    const whole = inside.width === width && inside.height === height;
    const { fit } = this.options;
    const fill = fit?.kind === "letterbox" ? (fit.fill ?? 0) : 0;
    for (const [channel, table] of this.tables.entries()) {
      if (!whole) values.fill(table[fill]!, channel * plane, (channel + 1) * plane);
      for (let y = 0; y < inside.height; y++) {
        let to = channel * plane + (y + inside.top - box.top) * width + inside.left - box.left;
        let from = y * inside.width * 3 + channel;
        for (let x = 0; x < inside.width; x++, from += 3) values[to++] = table[bytes[from]!]!;
      }
    }
    return { values, width, height };
  }
}

interface Part {
  /** On the resized image; may reach beyond it. */
  box: Box;
  /** Of it what lies on the image. */
  inside: Box;
  source: Size;
  resized: Size;
  /** Made when they are first needed. */
  here?: Resizer;
  onDevice?: PictureResizer;
}
