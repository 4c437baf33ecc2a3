import type { MediaInfo, StreamInfo } from "@krait/media";
import type { AudioSource, VideoSource } from "./sources.js";

/** What one decoder gives out waits for the slower of its two readers, for at most about this long. Seconds of media. */
const maxApartSeconds = 60;
/** How long `economizeFrames` lets a run become when nothing is said. */
const defaultRunSeconds = 10;

/**
 * Whether a file's pictures and sound keep pace, so that one decoder serves both readers. They do not where one stream ends (or
 * begins) much later than the other, or where pictures are sampled so rarely that the sound between two would pile up.
 *
 * @param framesPerBlock kept frames that the video reader needs at a time
 */
export function keepsPace(info: MediaInfo, video: VideoSource, audio: AudioSource, framesPerBlock: number): boolean {
  const [pictures, sound] = [chosenStream(info, video), chosenStream(info, audio)];
  // Whatever is missing, the decoder says so.
  if (!pictures || !sound) return true;
  const { start = 0, end = Number.POSITIVE_INFINITY, count, fps, times, economy } = video.options;
  const clip = (time: number) => Math.min(end, Math.max(start, time));
  const span = ({ startSeconds, durationSeconds = info.durationSeconds }: StreamInfo) => ({
    from: clip(startSeconds),
    to: clip(startSeconds + (durationSeconds ?? 0)),
  });
  const [a, b] = [span(pictures), span(sound)];
  const sampled = count !== undefined ? (a.to - a.from) / count : fps !== undefined ? 1 / fps : 0;
  // A run of near-duplicates is held until it ends.
  const step = Math.max(sampled, economy === undefined ? 0 : (economy.maxSeconds ?? defaultRunSeconds));
  // Between two times that were asked for the sound of all that lies between would pile up.
  if (times !== undefined) return false;
  // Behind a gate the sound is read on through all of a silence, with nobody asking for its pictures.
  if (audio.options.speech !== undefined) return false;
  const apart = Math.max(Math.abs(a.from - b.from), Math.abs(a.to - b.to), step * framesPerBlock);
  return apart <= maxApartSeconds;
}

/** The stream that a source reads, as `decode` picks it. */
export function chosenStream(
  { streams }: MediaInfo,
  { kind, options }: VideoSource | AudioSource,
): StreamInfo | undefined {
  const fitting = streams.filter(
    (s) => s.kind === kind || (kind === "video" && s.kind === "image" && !s.attachedPicture),
  );
  if (options.stream !== undefined) return fitting.find((s) => s.index === options.stream);
  return fitting.find((s) => s.isDefault) ?? fitting[0];
}
