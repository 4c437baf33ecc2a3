import { type LimitsInput, limitsSchema, parseOptions, throwIfAborted } from "@krait/core";
import { z } from "zod";
import { ffprobe } from "./ffprobe.js";
import { isAnimation, probeImage } from "./image.js";
import { probeFolder } from "./image-folder.js";
import type { MediaInfo } from "./media-info.js";
import { type MediaInput, openSource } from "./open-source.js";
import { isForeignWav } from "./route.js";
import { probeWav } from "./wav/wav-file.js";

const optionsSchema = z.strictObject({ limits: limitsSchema.optional(), signal: z.instanceof(AbortSignal).optional() });

/**
 * Describes a media file: its container and streams, their kinds, times, sizes and rates. Nothing is decoded. Wav files
 * and images need no ffprobe on the machine; of a stream the beginning is read and kept for `decode`.
 *
 * Throws `InputError`: SOURCE_NOT_FOUND, SOURCE_IS_ADDRESS, SOURCE_IS_DIRECTORY, SOURCE_NOT_A_FILE, SOURCE_UNREADABLE,
 * SOURCE_EMPTY, SOURCE_IS_PLAYLIST, MEDIA_INVALID, MEDIA_TRUNCATED, MEDIA_UNSUPPORTED, MEDIA_TOO_LARGE (images),
 * MEDIA_TOO_MANY_STREAMS, MEDIA_STALLED, MEDIA_NOT_STREAMABLE; `EnvironmentError`: FFMPEG_NOT_FOUND, FFMPEG_NOT_RUNNABLE; `AbortedError`.
 */
export async function probe(
  source: MediaInput,
  options: { limits?: LimitsInput | undefined; signal?: AbortSignal | undefined } = {},
): Promise<MediaInfo> {
  const { limits: given, signal } = parseOptions(optionsSchema, options, "probe()");
  const limits = given ?? limitsSchema.parse({});
  throwIfAborted(signal, "probing");
  const opened = await openSource(source, limits, signal);
  if (opened.kind === "folder") return probeFolder(opened, limits, signal);
  if (opened.kind === "image" && !(await isAnimation(opened, limits, signal)))
    return probeImage(opened, limits, signal);
  if (opened.kind === "wav" && !(await isForeignWav(opened, limits))) return probeWav(opened, limits);
  return ffprobe(opened, limits, signal);
}
