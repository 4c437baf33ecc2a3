import { defaultLimits, expected, type Limits, type LimitsInput, limitsSchema, UsageError } from "@krait/core";
import { z } from "zod";
import type { Polyphase } from "./resample.js";

const side = z.number().int().min(1).max(16384);

const samplingSchema = z.union([
  z.literal(["all", "key"]),
  // Each of them stands in ffmpeg's command line.
  z.strictObject({ times: z.array(z.number().min(0).max(1e9)).min(1).max(2000) }),
  z.strictObject({ fps: z.number().positive().max(1000) }),
  z.strictObject({ count: z.number().int().min(1).max(10_000_000) }),
]);

export const decodeSchema = z.strictObject({
  /** Which frames, and the size they are scaled to; without width and height they keep their own. */
  video: z
    .strictObject({
      sampling: samplingSchema,
      width: side.optional(),
      height: side.optional(),
      /** `cover` crops the centre, `contain` pads with black, `stretch` ignores the shape. */
      fit: z.enum(["stretch", "cover", "contain"]).default("cover"),
      /** Index of the stream; otherwise the default one, or the first. */
      stream: z.number().int().min(0).optional(),
      /** How many images of a folder make a second. */
      folderFps: z.number().positive().max(1000).default(2),
    })
    .optional(),
  /** Mono at this rate. */
  audio: z
    .strictObject({
      sampleRate: z.literal(16000),
      stream: z.number().int().min(0).optional(),
      /** Resamples wav files faster than TypeScript can: see `Polyphase`. */
      polyphase: z.custom<Polyphase>((value) => typeof value === "function", "Expected a function").optional(),
    })
    .optional(),
  /** Seconds on the container's timeline: [start, end). */
  start: z.number().min(0).optional(),
  end: z.number().positive().optional(),
  /** Decoder threads; ffmpeg's own choice otherwise. */
  threads: z.number().int().min(1).max(256).optional(),
  limits: limitsSchema.optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

export type DecodeOptions = Omit<z.input<typeof decodeSchema>, "limits" | "signal"> & {
  limits?: LimitsInput | undefined;
  signal?: AbortSignal | undefined;
};

type Parsed = z.output<typeof decodeSchema>;
export interface DecodePlan {
  video: Parsed["video"];
  audio: Parsed["audio"];
  start: number;
  /** Infinity where none was given. */
  end: number;
  /** Whether start or end was given: then nothing may lie in the range. */
  ranged: boolean;
  threads: number | undefined;
  limits: Limits;
}

/** What the schema cannot say about fields together. Throws `UsageError` INVALID_OPTION. */
export function decodePlan(options: Parsed): DecodePlan {
  const { video, audio, start = 0, end = Number.POSITIVE_INFINITY, limits = defaultLimits } = options;
  if (video === undefined && audio === undefined) {
    throw new UsageError(expected("video or audio", "decode()", undefined), {
      code: "INVALID_OPTION",
      hint: "Ask for at least one: { audio: { sampleRate: 16000 } }.",
    });
  }
  if (end <= start) {
    throw new UsageError(expected(`a time after start (${start})`, "decode() end", end), {
      code: "INVALID_OPTION",
      hint: "The range is [start, end) in seconds.",
    });
  }
  if (video !== undefined && (video.width === undefined) !== (video.height === undefined)) {
    throw new UsageError(expected("both or neither", "decode() video.width and video.height", video.width), {
      code: "INVALID_OPTION",
      hint: "Give both sides, or none to keep the frame's own size.",
    });
  }
  const ranged = options.start !== undefined || options.end !== undefined;
  return { video, audio, start, end, ranged, threads: options.threads, limits };
}
