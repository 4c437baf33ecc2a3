import { expected, parseOptions, UsageError } from "@krait/core";
import { type ByteStream, isByteStream, type MediaInput } from "@krait/media";
import { z } from "zod";
import { economyField } from "./frame-economy.js";

const rangeFields = {
  /** Seconds on the container's timeline: [start, end). */
  start: z.number().min(0).optional(),
  end: z.number().positive().optional(),
  /** Or, in place of end: seconds from start on. */
  duration: z.number().positive().optional(),
  /** Seconds added to every time: where this source begins beside the others. */
  offset: z.number().min(-1e8).max(1e8).default(0),
};
const streamField = {
  /** Index of the stream in the file, as `probe()` counts; the default one when absent. */
  stream: z.number().int().min(0).optional(),
};
const oneEnd = {
  check: (o: { end?: number | undefined; duration?: number | undefined }) =>
    o.end === undefined || o.duration === undefined,
  message: "end or duration, not both",
};

const videoSchema = z
  .strictObject({
    /** Frames kept per second of media; their times stay the container's. Of a folder of images: how many make a second. */
    fps: z.number().positive().max(1000).optional(),
    /** Or: so many frames over the whole. */
    count: z.number().int().min(1).optional(),
    /** Or: the frames that show at these times, seconds on the container's timeline. */
    times: z.array(z.number().min(0).max(1e9)).min(1).max(2000).optional(),
    /** Or: the key frames, which cost least to decode. */
    keyFrames: z.boolean().optional(),
    fit: z.enum(["cover", "contain", "stretch"]).default("cover"),
    /** Near-duplicates of the frames kept become one frame each, whose times are those of all of them. */
    economy: economyField,
    ...rangeFields,
    ...streamField,
  })
  .refine((o) => [o.fps, o.count, o.times, o.keyFrames || undefined].filter((v) => v !== undefined).length < 2, {
    message: "one of fps, count, times and keyFrames",
  })
  .refine(oneEnd.check, { message: oneEnd.message })
  .prefault({});
const audioSchema = z
  .strictObject({
    /** Only the passages in which Silero VAD hears speech, at their own times; the others make no tokens. */
    speech: z
      .strictObject({
        /** Path of silero_vad.onnx (version 5 and later, 16 kHz). */
        model: z.string().min(1),
        /** As `gateSpeech` takes them. */
        threshold: z.number().gt(0).lt(1).optional(),
        endThreshold: z.number().gt(0).lt(1).optional(),
        /** Seconds. */
        minSpeech: z.number().min(0).max(60).optional(),
        minSilence: z.number().min(0).max(60).optional(),
        padding: z.number().min(0).max(10).optional(),
      })
      .optional(),
    ...rangeFields,
    ...streamField,
  })
  .refine(oneEnd.check, { message: oneEnd.message })
  .prefault({});
const textSchema = z.strictObject({ name: z.string().max(1000).optional() }).prefault({});
const subtitlesSchema = z.strictObject(rangeFields).refine(oneEnd.check, { message: oneEnd.message }).prefault({});

export type VideoOptions = NonNullable<z.input<typeof videoSchema>>;
export type AudioOptions = NonNullable<z.input<typeof audioSchema>>;

export type SubtitlesOptions = NonNullable<z.input<typeof subtitlesSchema>>;

/** `path` names it in messages; `input` is what is read. */
export type VideoSource = {
  kind: "video";
  path: string;
  input: MediaInput;
  options: Ranged<z.output<typeof videoSchema>>;
};
export type AudioSource = {
  kind: "audio";
  path: string;
  input: MediaInput;
  options: Ranged<z.output<typeof audioSchema>>;
};
export type TextInput = { file: string } | { text: string } | { stream: "-" | ByteStream };
export type TextSource = {
  kind: "text";
  input: TextInput;
  name: string;
  /** Subtitles: the words have times. */
  timed?: Ranged<z.output<typeof subtitlesSchema>>;
};
/** What an encoder takes: made by `video()`, `audio()`, `image()`, `text()`, `textFile()` and `subtitles()`. */
export type Source = VideoSource | AudioSource | TextSource;

type Ranged<O> = Omit<O, "duration">;

function checkInput(input: unknown, name: string): MediaInput {
  if ((typeof input === "string" && input.length > 0) || isByteStream(input)) return input as MediaInput;
  throw new UsageError(expected("a path or a stream of bytes", name, input), {
    code: "INVALID_OPTION",
    hint: 'Give the path of a local file, "-" for standard input, or a Node or web stream.',
  });
}

function nameOf(input: MediaInput): string {
  return typeof input === "string" ? input : "the stream";
}

/** `duration` as the `end` it means. */
function ranged<O extends { start?: number | undefined; end?: number | undefined; duration?: number | undefined }>(
  options: O,
): Ranged<O> {
  const { duration, ...rest } = options;
  return duration === undefined ? rest : { ...rest, end: (rest.start ?? 0) + duration };
}

/**
 * The pictures of a media file, sampled (default 2 frames per second of media), of a folder of images in natural order of their names
 * (picture k at k / fps seconds), or of a stream of bytes, which is read once.
 */
export function video(input: MediaInput, options: VideoOptions = {}): VideoSource {
  const checked = checkInput(input, "video()");
  const parsed = parseOptions(videoSchema, options, "video()");
  return { kind: "video", path: nameOf(checked), input: checked, options: ranged(parsed) };
}

/** The sound of a media file or stream: mono, 16 kHz. */
export function audio(input: MediaInput, options: AudioOptions = {}): AudioSource {
  const checked = checkInput(input, "audio()");
  const parsed = parseOptions(audioSchema, options, "audio()");
  return { kind: "audio", path: nameOf(checked), input: checked, options: ranged(parsed) };
}

/** A picture: one tubelet at time 0. */
export function image(input: MediaInput, options: { fit?: "cover" | "contain" | "stretch" } = {}): VideoSource {
  const checked = checkInput(input, "image()");
  const parsed = parseOptions(videoSchema, options, "image()");
  return { kind: "video", path: nameOf(checked), input: checked, options: ranged(parsed) };
}

/** Words without times, or a stream of UTF-8: before the first timed source a prefix of the sequence, after it a suffix. */
export function text(words: string | ByteStream, options: z.input<typeof textSchema> = {}): TextSource {
  const { name } = parseOptions(textSchema, options, "text()");
  if (typeof words === "string") return { kind: "text", input: { text: words }, name: name ?? "text" };
  if (isByteStream(words)) return { kind: "text", input: { stream: words }, name: name ?? "the stream" };
  throw new UsageError(expected("a string or a stream of bytes", "text()", words), {
    code: "INVALID_OPTION",
    hint: "For a file use textFile(path).",
  });
}

/** A file of UTF-8 text without times; "-" is standard input. */
export function textFile(path: string): TextSource {
  return { kind: "text", input: fileOf(path, "textFile()"), name: path };
}

/** The lines of a .srt or .vtt file, each at its time; "-" is standard input. With start and end: those that begin between. */
export function subtitles(path: string, options: SubtitlesOptions = {}): TextSource {
  const timed = ranged(parseOptions(subtitlesSchema, options, "subtitles()"));
  return { kind: "text", input: fileOf(path, "subtitles()"), name: path, timed };
}

function fileOf(path: unknown, name: string): TextInput {
  if (path === "-") return { stream: "-" };
  if (typeof path === "string" && path.length > 0) return { file: path };
  throw new UsageError(expected("a path", name, path), {
    code: "INVALID_OPTION",
    hint: "Give the path of a local file.",
  });
}

/** What a source is read from, where that is a file or folder. */
export function fileOfSource(source: Source): string | undefined {
  if (source.kind === "text") return "file" in source.input ? source.input.file : undefined;
  return typeof source.input === "string" && source.input !== "-" ? source.input : undefined;
}

/** The stream that a source is read from, if it is one. */
export function streamOf(source: Source): "-" | ByteStream | undefined {
  if (source.kind === "text") return "stream" in source.input ? source.input.stream : undefined;
  return typeof source.input !== "string" || source.input === "-" ? source.input : undefined;
}

const kinds = new Set<unknown>(["video", "audio", "text"]);

/** Throws `UsageError` (NO_SOURCES, INVALID_OPTION) unless it is a list of sources. */
export function checkSources(sources: readonly Source[]): void {
  const hint = 'Pass a list: [video("file.mp4"), audio("file.mp4"), text("…")].';
  if (!Array.isArray(sources) || sources.length === 0) {
    throw new UsageError(expected("at least one source", "the encoder", sources), { code: "NO_SOURCES", hint });
  }
  const odd = sources.findIndex((source: Source | undefined) => !kinds.has(source?.kind));
  if (odd < 0) return;
  throw new UsageError(expected("a source", `source ${odd} of the encoder`, sources[odd]), {
    code: "INVALID_OPTION",
    hint,
  });
}
