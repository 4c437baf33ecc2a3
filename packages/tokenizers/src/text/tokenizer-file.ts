import { createHash } from "node:crypto";
import { expected, InputError, KraitError } from "@krait/core";
import { decodeUtf8, openRegularFile, readAt } from "@krait/formats";
import { z } from "zod";

const maxFileBytes = 256 * 2 ** 20;
const maxId = 2 ** 24;

const component = z.looseObject({ type: z.string() }).nullable().default(null);

/** What a tokenizer.json must be for us to look inside; what a component means is the library's business. */
const schema = z.looseObject({
  added_tokens: z
    .array(z.looseObject({ id: z.number().int().min(0).max(maxId), content: z.string().min(1) }))
    .nullish()
    .transform((tokens) => tokens ?? []),
  normalizer: component,
  pre_tokenizer: component,
  post_processor: component,
  decoder: component,
  model: z.looseObject({
    type: z.enum(["BPE", "WordPiece", "Unigram"], "expected a model of type BPE, WordPiece or Unigram"),
    vocab: z.unknown(),
    merges: z.unknown().optional(),
  }),
});

export type TokenizerFile = z.output<typeof schema>;

/**
 * Reads and checks a tokenizer.json. `__proto__` and doubled keys pass: vocabularies of code models hold such tokens.
 *
 * Throws `InputError` (TOKENIZER_INVALID, and what `openRegularFile` throws).
 */
export async function loadTokenizerFile(path: string): Promise<{ json: TokenizerFile; sha256: string }> {
  const { handle, size } = await openRegularFile(path);
  let bytes: Uint8Array;
  try {
    if (size > maxFileBytes) throw invalid(path, `at most ${maxFileBytes} bytes`, size);
    bytes = new Uint8Array(size);
    bytes = bytes.subarray(0, await readAt(handle, bytes, 0));
  } finally {
    await handle.close();
  }
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  let json: unknown;
  try {
    json = JSON.parse(decodeUtf8(bytes, path, "TOKENIZER_INVALID"));
  } catch (cause) {
    if (KraitError.is(cause)) throw cause;
    throw invalid(path, "JSON", (cause as Error).message, cause);
  }
  const result = schema.safeParse(json);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw invalid(path, `a tokenizer at ${issue.path.join(".") || "the top"}`, issue.message, result.error);
  }
  // Without the copy that zod makes of objects, which would drop a token named __proto__.
  const { vocab, merges } = (json as TokenizerFile).model;
  result.data.model.vocab = vocab;
  checkVocabulary(path, result.data.model.type, vocab);
  checkMerges(path, result.data.model.type, merges);
  return { json: result.data, sha256 };
}

function checkVocabulary(path: string, type: string, vocab: unknown): void {
  if (type === "Unigram") {
    const fits = (entry: unknown) =>
      Array.isArray(entry) && typeof entry[0] === "string" && Number.isFinite(entry[1]) && entry.length === 2;
    if (Array.isArray(vocab) && vocab.length > 0 && vocab.length <= maxId && vocab.every(fits)) return;
    throw invalid(path, "pairs of token and score as model.vocab", vocab);
  }
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab))
    throw invalid(path, "an object as model.vocab", vocab);
  const ids = new Set<number>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!(Number.isInteger(id) && id >= 0 && id <= maxId) || ids.has(id))
      throw invalid(path, `an id of its own for token ${JSON.stringify(token)}`, id);
    ids.add(id);
  }
  if (ids.size === 0) throw invalid(path, "a vocabulary with tokens", vocab);
}

function checkMerges(path: string, type: string, merges: unknown): void {
  if (type !== "BPE") return;
  if (!Array.isArray(merges)) throw invalid(path, "a list as model.merges", merges);
  const pairs = Array.isArray(merges[0]);
  for (const merge of merges) {
    const fits = pairs
      ? Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === "string")
      : typeof merge === "string" && merge.split(" ").length === 2;
    if (!fits) throw invalid(path, "pairs of tokens as model.merges", merge);
  }
}

export function invalid(path: string, what: string, received: unknown, cause?: unknown): InputError {
  return new InputError(expected(what, path, received), {
    code: "TOKENIZER_INVALID",
    hint: "Fetch tokenizer.json again from the model's page, or convert the tokenizer with transformers (save_pretrained).",
    cause,
  });
}
