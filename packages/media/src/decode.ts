import { parseOptions } from "@krait/core";
import { decodeMedia } from "./decode-media.js";
import { type DecodeOptions, type DecodePlan, decodePlan, decodeSchema } from "./decode-options.js";
import { isAnimation, readImageFile } from "./image.js";
import { decodeFolder } from "./image-folder.js";
import { noStream } from "./media-errors.js";
import type { MediaPart, MediaStream } from "./media-part.js";
import { createMediaStream, type StreamContext } from "./media-stream.js";
import { type MediaInput, openSource } from "./open-source.js";
import { isForeignWav } from "./route.js";
import { decodeWav } from "./wav/decode-wav.js";

/**
 * Decodes video and audio together, in the order of their start times, as fast as the parts are pulled and no faster.
 * (Only a file whose streams lie over 10 s apart may break the order between them; within each, starts never fall.)
 *
 * **Time.** Zero is the zero of the container's timeline: edit lists and late starts are honoured, a transport stream
 * keeps its own clock. What lies before zero is clipped.
 *
 * **Video.** `sampling` says which frames are kept (see `Sampling`). A kept frame starts at its presentation time and ends
 * where the next kept one starts; where none follows within 60 s, and for the last, it ends after its own duration
 * (1 / average rate). Starts never fall: a frame whose time does not advance is dropped, up to 10 s of them in all. Upright as players show it.
 *
 * **Audio.** The mean of all channels (no loudness weights, the low-frequency channel included), at 16 kHz, in parts of at
 * most 0.1 s on one clock: gaps inside become silence and overlaps are dropped, both only beyond 20 ms of jitter.
 *
 * **Wav** files are read without ffmpeg and resampled by a windowed sinc; **images** are one video part, start = end = 0,
 * whatever the range.
 *
 * A **folder of images** is a video: its files in natural order, picture k at k / `folderFps` seconds. A **stream** ("-" is standard
 * input) is read once, from its beginning: nothing is sought in it, and of formats with their index at the end it says MEDIA_NOT_STREAMABLE.
 *
 * A file that is damaged or cut in its middle yields what can be decoded and then throws. Leaving the loop, `close()` and
 * the signal kill the decoder at once.
 *
 * Throws (from the loop) what `probe` throws, and `InputError`: MEDIA_NO_VIDEO, MEDIA_NO_AUDIO, MEDIA_INVALID,
 * MEDIA_TRUNCATED, MEDIA_UNSUPPORTED, MEDIA_STALLED, MEDIA_ENCRYPTED, MEDIA_INTERLEAVING, MEDIA_TIMES_INVALID, MEDIA_TOO_LARGE, MEDIA_TOO_LONG, MEDIA_TOO_MANY_CHANNELS,
 * SAMPLES_NOT_FINITE, DURATION_UNKNOWN; `EnvironmentError`: DECODER_OUTPUT_INVALID; `AbortedError`.
 * Throws at once: `UsageError` INVALID_OPTION.
 */
export function decode(source: MediaInput, options: DecodeOptions): MediaStream {
  const parsed = parseOptions(decodeSchema, options, "decode()");
  const plan = decodePlan(parsed);
  return createMediaStream((context) => decodeSource(source, plan, context), parsed.signal);
}

async function* decodeSource(
  source: MediaInput,
  plan: DecodePlan,
  context: StreamContext,
): AsyncGenerator<MediaPart, void, undefined> {
  const { limits } = plan;
  const opened = await openSource(source, limits, context.signal);
  context.throwIfClosed();
  if (opened.kind === "folder") yield* decodeFolder(opened, plan, context);
  else if (opened.kind === "image" && !(await isAnimation(opened, limits, context.signal))) {
    if (plan.video === undefined || plan.audio !== undefined) throw noStream(opened.path, "audio", "an image");
    yield await readImageFile(opened, plan.video, limits, context.signal);
  } else if (opened.kind === "wav" && !(await isForeignWav(opened, limits))) {
    yield* decodeWav(opened, plan, context);
  } else {
    yield* decodeMedia(opened, plan, context);
  }
}
