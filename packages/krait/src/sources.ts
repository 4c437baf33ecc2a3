import { expected, parseOptions, UsageError } from "@krait/core";
import { z } from "zod";

const rangeFields = {
  /** Seconds on the container's timeline: [start, end). */
  start: z.number().min(0).optional(),
  end: z.number().positive().optional(),
  /** Index of the stream in the file; the default one when absent. */
  stream: z.number().int().min(0).optional(),
};

const videoSchema = z
  .strictObject({
    /** Frames kept per second of media; their times stay the container's. */
    fps: z.number().positive().max(1000).optional(),
    /** Or: so many frames over the whole. */
    count: z.number().int().min(1).optional(),
    fit: z.enum(["cover", "contain", "stretch"]).default("cover"),
    ...rangeFields,
  })
  .refine((o) => o.fps === undefined || o.count === undefined, { message: "fps or count, not both" })
  .prefault({});
const audioSchema = z.strictObject(rangeFields).prefault({});
const textSchema = z.strictObject({ name: z.string().max(1000).optional() }).prefault({});

export type VideoOptions = NonNullable<z.input<typeof videoSchema>>;
export type AudioOptions = NonNullable<z.input<typeof audioSchema>>;

export type VideoSource = { kind: "video"; path: string; options: z.output<typeof videoSchema> };
export type AudioSource = { kind: "audio"; path: string; options: z.output<typeof audioSchema> };
export type TextSource = { kind: "text"; input: { file: string } | { text: string }; name: string };
/** What an encoder takes: made by `video()`, `audio()`, `image()`, `text()` and `textFile()`. */
export type Source = VideoSource | AudioSource | TextSource;

function checkPath(path: unknown, name: string): string {
  if (typeof path === "string" && path.length > 0) return path;
  throw new UsageError(expected("a path", name, path), {
    code: "INVALID_OPTION",
    hint: "Give the path of a local file.",
  });
}

/** The pictures of a media file, sampled (default 2 frames per second of media). */
export function video(path: string, options: VideoOptions = {}): VideoSource {
  return { kind: "video", path: checkPath(path, "video()"), options: parseOptions(videoSchema, options, "video()") };
}

/** The sound of a media file: mono, 16 kHz. */
export function audio(path: string, options: AudioOptions = {}): AudioSource {
  return { kind: "audio", path: checkPath(path, "audio()"), options: parseOptions(audioSchema, options, "audio()") };
}

/** A picture: one tubelet at time 0. */
export function image(path: string, options: { fit?: "cover" | "contain" | "stretch" } = {}): VideoSource {
  return { kind: "video", path: checkPath(path, "image()"), options: parseOptions(videoSchema, options, "image()") };
}

/** Words without times: before the first timed source a prefix of the sequence, after it a suffix. */
export function text(words: string, options: z.input<typeof textSchema> = {}): TextSource {
  if (typeof words !== "string") {
    throw new UsageError(expected("a string", "text()", words), {
      code: "INVALID_OPTION",
      hint: "For a file use textFile(path).",
    });
  }
  return { kind: "text", input: { text: words }, name: parseOptions(textSchema, options, "text()").name ?? "text" };
}

/** A file of UTF-8 text without times. */
export function textFile(path: string): TextSource {
  return { kind: "text", input: { file: checkPath(path, "textFile()") }, name: path };
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
