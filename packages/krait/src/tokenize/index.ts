import { parseOptions, throwIfAborted } from "@krait/core";
import { type FrontEndPreset, frontEndPresets } from "@krait/tokenizers";
import { version } from "../version.js";
import { tokenizeAudio } from "./audio.js";
import { tokenizeImages } from "./images.js";
import {
  choosePreset,
  type TokenizeFileOptions,
  type TokenizeFileResult,
  type TokenizePlan,
  tokenizeSchema,
} from "./options.js";
import { FeatureSink } from "./sink.js";
import { tokenizeText } from "./text.js";

export type { TokenizeFileOptions, TokenizeFileResult } from "./options.js";

/** A front end that `tokenizeFile` knows. */
export interface FrontEnd {
  name: string;
  modality: "audio" | "image" | "text";
  about: string;
}

export const frontEnds: readonly FrontEnd[] = frontEndPresets.map(({ name, modality, about }) => ({
  name,
  modality,
  about,
}));

/**
 * Writes what one published front end makes of a file, without an encoder: `features` [tokens, dim] f32 and `times` [tokens, 2] f64 seconds on
 * the container's timeline; for text `ids` i32 [tokens]. Audio: [frames, bins] at the front end's own rate. Images and video: one row per
 * frame, normalised pixels flattened C, H, W (patches for Qwen2-VL). Memory does not grow with the input's length.
 *
 * The file appears under its name when it is whole. Throws `UsageError` (INVALID_OPTION, PRESET_UNKNOWN, TOKENIZER_MISSING), what
 * `decode`, `readTextSource` and `createTextTokenizer` throw, `InputError` (ROW_SIZE_CHANGES), `EnvironmentError`
 * (ADDON_ codes for audio, OUTPUT_ codes, DISK_FULL) and `AbortedError`; nothing is left behind then.
 */
export async function tokenizeFile(path: string, options: TokenizeFileOptions): Promise<TokenizeFileResult> {
  const plan = parseOptions(tokenizeSchema, options, "tokenizeFile()");
  const preset = choosePreset(plan);
  throwIfAborted(plan.signal, "tokenizing");
  const begun = performance.now();
  const elapsed = () => (performance.now() - begun) / 1000;
  const { tokens, dim, mediaSeconds } = await write(path, preset, plan, elapsed);
  return { out: plan.out, preset: preset.name, tokens, dim, mediaSeconds, elapsedSeconds: elapsed() };
}

async function write(path: string, preset: FrontEndPreset, plan: TokenizePlan, elapsed: () => number) {
  const { normalization, size, fps, count, economy, stream, start, end } = plan;
  const metadata = {
    "krait.version": version,
    preset: preset.name,
    options: JSON.stringify({ normalization, size, fps, count, economy, stream, start, end }),
  };
  if (preset.modality === "text") {
    return { tokens: await tokenizeText(path, plan, metadata), dim: 1, mediaSeconds: 0 };
  }
  const sink = new FeatureSink(plan.out, metadata, (tokens, mediaSeconds) =>
    plan.onProgress?.({ stage: "tokenize", mediaSeconds, tokens, elapsedSeconds: elapsed() }),
  );
  try {
    if (preset.modality === "audio") await tokenizeAudio(path, preset, plan, sink);
    else await tokenizeImages(path, preset, plan, sink);
    await sink.finish(plan.signal);
    return { tokens: sink.rows, dim: sink.dim, mediaSeconds: sink.end };
  } finally {
    await sink.abort();
  }
}
