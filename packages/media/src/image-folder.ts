import { InputError, KraitError, type Limits } from "@krait/core";
import type { DecodePlan } from "./decode-options.js";
import { probeImage, readImageFile } from "./image.js";
import { checkDuration, noStream } from "./media-errors.js";
import type { MediaInfo } from "./media-info.js";
import type { VideoPart } from "./media-part.js";
import type { StreamContext } from "./media-stream.js";
import { openSource, type Source } from "./open-source.js";
import { FrameSampler, samplingGrid } from "./sampling.js";

/** What `probe` says of a folder of images: a video without a rate, of which the first picture tells the size. */
export async function probeFolder(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<MediaInfo> {
  const files = source.files!;
  const { streams } = await probeImage(await openImage(files[0]!), limits, signal);
  const { codec, width, height } = streams[0]!;
  const size = width !== undefined && height !== undefined ? { width, height } : {};
  const stream = { index: 0, kind: "video" as const, codec, startSeconds: 0, ...size, frames: files.length };
  return { path: source.path, container: imageFolder, bytes: 0, streams: [{ ...stream, isDefault: true }] };
}

/** The container's name of a folder of images. */
export const imageFolder = "images";

/** Reads the images of a folder one by one: picture k lies at k / folderFps seconds and lasts until the next. */
export async function* decodeFolder(
  source: Source,
  plan: DecodePlan,
  context: StreamContext,
): AsyncGenerator<VideoPart, void, undefined> {
  const { video, audio, start, end, limits } = plan;
  if (video === undefined || audio !== undefined) throw noStream(source.path, "audio", "a folder of images");
  const files = source.files!;
  const { folderFps } = video;
  checkDuration(Math.min(end, files.length / folderFps) - start, source.path, limits);
  const stream = { index: 0, kind: "video" as const, codec: "", startSeconds: 0, averageFps: folderFps };
  const grid = samplingGrid(video.sampling, stream, files.length / folderFps, start, end);
  const sampler = new FrameSampler(grid);
  let held: VideoPart | undefined;
  for (const [k, path] of files.entries()) {
    const time = k / folderFps;
    if (time < start || time >= end || (grid && time < grid.from) || !sampler.keeps(time)) continue;
    context.throwIfClosed();
    const part = await readOne(path, video, limits, context.signal);
    if (held) yield { ...held, end: time };
    held = { ...part, start: time, end: time + 1 / folderFps };
    if (sampler.done) break;
  }
  if (held) yield held;
}

async function readOne(
  path: string,
  video: NonNullable<DecodePlan["video"]>,
  limits: Limits,
  signal: AbortSignal,
): Promise<VideoPart> {
  const { width, height, fit } = video;
  return readImageFile(await openImage(path), { width, height, fit }, limits, signal);
}

async function openImage(path: string): Promise<Source> {
  const source = await openSource(path).catch((error: unknown) => {
    if (!KraitError.is(error) || error.code !== "SOURCE_IS_DIRECTORY") throw error;
    throw notImage(path, "a directory");
  });
  if (source.kind === "image") return source;
  throw notImage(path, "other bytes");
}

function notImage(path: string, received: string): InputError {
  return new InputError(`Expected an image for ${path} but received ${received}`, {
    code: "MEDIA_INVALID",
    hint: "Every file of the folder that is named as an image must be one: take this one out.",
  });
}
