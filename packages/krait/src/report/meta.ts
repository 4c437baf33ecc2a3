import { z } from "zod";

const text = z.string();

/** What a collector must know before the first chunk. */
export const collectorSchema = z.strictObject({
  /** Features per token. */
  dim: z.number().int().positive(),
  title: text,
  /** Time bins kept, at most. */
  maxBins: z.number().int().min(2).max(1024).default(1024),
  maxThumbnails: z.number().int().positive().max(60).default(60),
});

/** What the page says about the run besides what was collected. */
export const metaSchema = z.strictObject({
  /** In the order given to the run. */
  sources: z.array(
    z.strictObject({
      name: text,
      kind: z.enum(["video", "audio", "image", "text"]),
      durationSeconds: z.number().nonnegative().optional(),
      /** Codecs, size, rate: whatever was probed, already in words: `"h264 1280x720, 25 fps"`. */
      details: text.optional(),
    }),
  ),
  model: z.strictObject({
    name: text,
    /** True for an encoder that was never trained: the page then says so in plain words. */
    random: z.boolean(),
    seed: z.number().int().optional(),
    layout: text.optional(),
    parameters: z.number().int().nonnegative().optional(),
    sha256: text.optional(),
  }),
  /** `cpu`, `cuda`, with the name of the device if known. */
  device: text,
  /** Wall time of the run, in seconds. */
  elapsedSeconds: z.number().nonnegative().optional(),
  /** Run options as JSON shows them. */
  options: z.record(text, z.unknown()).default({}),
  /** Version of Krait. */
  version: text,
  /** When the run ended, as it should be shown. */
  createdAt: text.optional(),
});

export type CollectorOptions = z.input<typeof collectorSchema>;
export type ReportMeta = z.input<typeof metaSchema>;
export type ParsedMeta = z.output<typeof metaSchema>;
