import { readFile } from "node:fs/promises";
import { InputError, type Limits, type LimitsInput, limitsSchema, parseOptions, throwIfAborted } from "@krait/core";
import sharp, { type Metadata } from "sharp";
import { z } from "zod";
import { checkPixels } from "./media-errors.js";
import type { MediaInfo } from "./media-info.js";
import type { VideoPart } from "./media-part.js";
import { openSource, type Source, unreadable } from "./open-source.js";
import { imageFormat } from "./sniff.js";

const maxImageBytes = 2 ** 30;
const side = z.number().int().min(1).max(16384);
const optionsSchema = z.strictObject({
  width: side.optional(),
  height: side.optional(),
  fit: z.enum(["stretch", "cover", "contain"]).default("cover"),
  limits: limitsSchema.optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

export type ImageOptions = Omit<z.input<typeof optionsSchema>, "limits" | "signal"> & {
  limits?: LimitsInput | undefined;
  signal?: AbortSignal | undefined;
};

/**
 * Reads a still image (PNG, JPEG, WebP, TIFF, AVIF, the first page of a GIF) as one frame with start = end = 0.
 *
 * Turned upright by its EXIF orientation, converted to sRGB with 8 bits, transparency laid over black. `fit` as in
 * `decode`; without width and height the image keeps its size.
 *
 * Throws `InputError`: the SOURCE_ codes of `openSource`, MEDIA_INVALID, MEDIA_TOO_LARGE.
 */
export async function readImage(source: string | Buffer, options: ImageOptions = {}): Promise<VideoPart> {
  const { limits: given, signal, ...target } = parseOptions(optionsSchema, options, "readImage()");
  const limits = given ?? limitsSchema.parse({});
  throwIfAborted(signal, "reading");
  if (typeof source === "string") return readImageFile(await openSource(source), target, limits, signal);
  return decodeImage(source, "the image", target, limits, signal);
}

interface Target {
  width?: number | undefined;
  height?: number | undefined;
  fit: "stretch" | "cover" | "contain";
}

export async function readImageFile(source: Source, target: Target, limits: Limits, signal: AbortSignal | undefined) {
  return decodeImage(await readBytes(source, limits, signal), source.path, target, limits, signal);
}

async function decodeImage(
  bytes: Buffer,
  name: string,
  { width, height, fit }: Target,
  limits: Limits,
  signal: AbortSignal | undefined,
): Promise<VideoPart> {
  await imageMetadata(bytes, name, limits);
  if (width !== undefined && height !== undefined) checkPixels(width, height, "width and height", limits);
  try {
    // A path would let libvips read options out of the file's name: it gets bytes only.
    let image = sharp(bytes, { limitInputPixels: limits.maxPixels, failOn: "error" }).autoOrient();
    if (width !== undefined || height !== undefined) {
      image = image.resize({
        ...(width === undefined ? {} : { width }),
        ...(height === undefined ? {} : { height }),
        fit: fit === "stretch" ? "fill" : fit,
        background: { r: 0, g: 0, b: 0, alpha: 1 },
      });
    }
    const { data, info } = await image
      .flatten({ background: { r: 0, g: 0, b: 0 } })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    throwIfAborted(signal, "reading");
    if (info.channels !== 3) throw new Error(`${info.channels} channels`);
    const pixels = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { kind: "video", pixels, width: info.width, height: info.height, start: 0, end: 0 };
  } catch (cause) {
    throwIfAborted(signal, "reading");
    throw invalid(name, (cause as Error).message, cause);
  }
}

/** What `probe` says of an image, without ffprobe. */
export async function probeImage(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<MediaInfo> {
  const metadata = await imageMetadata(await readBytes(source, limits, signal), source.path, limits);
  const { width, height } = metadata.autoOrient;
  const stream = { index: 0, kind: "image" as const, codec: source.format, startSeconds: 0, width, height };
  return { path: source.path, container: source.format, bytes: source.bytes, streams: [stream] };
}

/** An animation is a video in all but name. */
export async function isAnimation(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<boolean> {
  if (source.format !== "gif") return false;
  const { pages } = await imageMetadata(await readBytes(source, limits, signal), source.path, limits);
  return (pages ?? 1) > 1;
}

async function imageMetadata(bytes: Buffer, name: string, limits: Limits): Promise<Metadata> {
  if (bytes.length === 0) {
    throw new InputError(`Expected an image for ${name} but received no bytes`, {
      code: "SOURCE_EMPTY",
      hint: "Check that the file was written whole.",
    });
  }
  // Vector formats and documents are not opened at all: they can name other files.
  if (imageFormat(bytes) === undefined) throw invalid(name, "bytes of no known image format");
  let metadata: Metadata;
  try {
    // Only the header is read here; the bound on pixels follows, with its own words.
    metadata = await sharp(bytes, { limitInputPixels: false }).metadata();
  } catch (cause) {
    throw invalid(name, (cause as Error).message, cause);
  }
  checkPixels(metadata.width, metadata.height, name, limits);
  return metadata;
}

async function readBytes(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<Buffer> {
  if (source.pipe) return Buffer.from(await source.pipe.readAll(maxImageBytes, "MEDIA_TOO_LARGE", limits, signal));
  if (source.bytes > maxImageBytes) {
    throw new InputError(
      `Expected an image of at most ${maxImageBytes} bytes for ${source.path} but received ${source.bytes}`,
      {
        code: "MEDIA_TOO_LARGE",
        hint: "Scale the image down first.",
      },
    );
  }
  return readFile(source.path, { signal }).catch((cause: NodeJS.ErrnoException) => {
    throwIfAborted(signal, "reading");
    throw unreadable(source.path, cause);
  });
}

function invalid(name: string, received: string, cause?: unknown): InputError {
  return new InputError(`Expected a readable image for ${name} but received ${received}`, {
    code: "MEDIA_INVALID",
    hint: "Open it in a viewer to check it; PNG, JPEG, WebP, TIFF, AVIF and GIF are read.",
    cause,
  });
}
