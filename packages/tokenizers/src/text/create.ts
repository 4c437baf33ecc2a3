import { defaultLimits, type LimitsInput, limitsSchema, parseOptions } from "@krait/core";
import { z } from "zod";
import { BytesTokenizer } from "./bytes.js";
import { JsonTokenizer } from "./json-tokenizer.js";
import { buildTokenizer } from "./library.js";
import { loadTokenizerFile } from "./tokenizer-file.js";
import type { TextTokenizer } from "./types.js";

const optionsSchema = z.union([
  z.strictObject({ kind: z.literal("bytes"), limits: limitsSchema.optional() }),
  z.strictObject({ file: z.string().min(1), limits: limitsSchema.optional() }),
]);

export type TextTokenizerOptions =
  | { kind: "bytes"; limits?: LimitsInput }
  /** Path of a tokenizer.json. */
  | { file: string; limits?: LimitsInput };

/**
 * A tokenizer of text: plain bytes, or any tokenizer.json (the format of the Hugging Face `tokenizers` crate).
 *
 * Throws `UsageError` (INVALID_OPTION), `InputError` (TOKENIZER_INVALID, FILE_NOT_FOUND and the like).
 */
export async function createTextTokenizer(options: TextTokenizerOptions): Promise<TextTokenizer> {
  const parsed = parseOptions(optionsSchema, options, "createTextTokenizer()");
  const limits = parsed.limits ?? defaultLimits;
  if ("kind" in parsed) return new BytesTokenizer(limits);
  const { json, sha256 } = await loadTokenizerFile(parsed.file);
  return new JsonTokenizer(`sha256:${sha256}`, parsed.file, buildTokenizer(parsed.file, json), limits);
}
