import { expected, type LimitsInput, limitsSchema, type ProgressListener, UsageError } from "@krait/core";
import { type FrontEndPreset, frontEndPresets } from "@krait/tokenizers";
import { z } from "zod";
import { economyField } from "../frame-economy.js";

export const tokenizeSchema = z
  .strictObject({
    /** One of `frontEnds`. */
    preset: z.string(),
    /** The file to write: safetensors, or npy for a name that ends in .npy. */
    out: z.string().min(1),
    /** Where the numbers of a normalisation come from; presets without a choice ignore it. */
    normalization: z.enum(["exact", "fixed", "running"]).default("exact"),
    /** Pixels of the resize and the crop, for images and video. */
    size: z.number().int().min(1).max(8192).optional(),
    /** Path of a preprocessor_config.json that takes the place of an image preset's own options. */
    processor: z.string().min(1).optional(),
    /** Path of a tokenizer.json, for text. */
    tokenizer: z.string().min(1).optional(),
    /** Frames kept per second of video, or over the whole; all when absent. */
    fps: z.number().positive().max(1000).optional(),
    count: z.number().int().min(1).optional(),
    /** Near-duplicates become one picture each, whose times are those of all of them. */
    economy: economyField,
    /** Index of the stream in the file, as `probe()` counts; the default one when absent. */
    stream: z.number().int().min(0).optional(),
    /** Seconds on the container's timeline: [start, end). */
    start: z.number().min(0).optional(),
    end: z.number().positive().optional(),
    limits: limitsSchema.optional(),
    signal: z.instanceof(AbortSignal).optional(),
    onProgress: z.custom<ProgressListener>((value) => typeof value === "function", "a function").optional(),
  })
  .refine((o) => o.fps === undefined || o.count === undefined, { message: "fps or count, not both" })
  .refine((o) => o.size === undefined || o.processor === undefined, { message: "size or processor, not both" });

export type TokenizePlan = z.output<typeof tokenizeSchema>;
export type TokenizeFileOptions = Omit<z.input<typeof tokenizeSchema>, "limits" | "signal" | "onProgress"> & {
  limits?: LimitsInput | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ProgressListener | undefined;
};

export interface TokenizeFileResult {
  out: string;
  preset: string;
  /** Rows. */
  tokens: number;
  /** Numbers per row; 1 for ids. */
  dim: number;
  /** Where the last row ends, on the container's timeline. */
  mediaSeconds: number;
  elapsedSeconds: number;
}

/** Throws `UsageError` (PRESET_UNKNOWN, INVALID_OPTION for options that the preset has no use for). */
export function choosePreset(plan: TokenizePlan): FrontEndPreset {
  const preset = frontEndPresets.find(({ name }) => name === plan.preset);
  if (preset === undefined) {
    throw new UsageError(expected("the name of a front end", "the preset", plan.preset), {
      code: "PRESET_UNKNOWN",
      hint: `There are ${frontEndPresets.map(({ name }) => name).join(", ")}.`,
    });
  }
  const useless = (["size", "processor", "fps", "count", "economy"] as const).find((name) => plan[name] !== undefined);
  if (preset.modality !== "image" && useless) throw foreign(preset, useless, "images and video");
  if (preset.modality === "text" && plan.stream !== undefined) throw foreign(preset, "stream", "sound and pictures");
  if (preset.modality !== "text" && plan.tokenizer !== undefined) throw foreign(preset, "tokenizer", "text");
  if (preset.modality === "text" && preset.needsTokenizer !== (plan.tokenizer !== undefined)) {
    if (!preset.needsTokenizer) throw foreign(preset, "tokenizer", "the preset text");
    throw new UsageError(expected("a tokenizer.json", `the preset ${preset.name}`, undefined), {
      code: "TOKENIZER_MISSING",
      hint: "Give the path of the model's tokenizer.json, or use the preset bytes.",
    });
  }
  return preset;
}

function foreign({ name }: FrontEndPreset, option: string, use: string): UsageError {
  return new UsageError(`Expected no ${option} for the preset ${name} but received one`, {
    code: "INVALID_OPTION",
    hint: `${option} is for ${use}.`,
  });
}
