export interface EncodeOptions {
  /** Adds what the tokenizer's own template puts around a text (a begin mark, say). Default true; bytes have none. */
  specialTokens?: boolean;
}

export interface EncodeStreamOptions extends EncodeOptions {
  signal?: AbortSignal;
}

export interface DecodeOptions {
  /** Shows special tokens as their text instead of leaving them out. Default false. */
  specialTokens?: boolean;
}

/** Decodes ids as they come. The pieces joined are what `decode` gives for all ids at once. */
export interface TextDecoding {
  /** The text that these ids complete; "" while a character is not whole. */
  push(ids: number | Iterable<number>): string;
  /** What is left: an unfinished character becomes U+FFFD. The next push starts anew. */
  end(): string;
}

/**
 * Text to ids and back.
 *
 * Lone surrogates, which no UTF-8 can hold, are taken as U+FFFD, as the Encoding Standard does. NUL and U+FEFF are text
 * like any other. `encode` throws `InputError` (TEXT_TOO_LONG above `limits.maxTextBytes`, TEXT_UNBREAKABLE for a
 * tokenizer.json and a stretch of more than 65,536 UTF-16 units without a place to cut). `decode` throws `UsageError`
 * (TOKEN_ID_UNKNOWN).
 */
export interface TextTokenizer {
  /** "bytes", or "sha256:" and the digest of the tokenizer.json: what a feature file records. */
  readonly id: string;
  /** One more than the greatest id. */
  readonly vocabularySize: number;
  encode(text: string, options?: EncodeOptions): Int32Array;
  /** The same ids in pieces, with the event loop free in between; for texts of megabytes. */
  encodeStream(text: string, options?: EncodeStreamOptions): AsyncIterable<Int32Array>;
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  decoder(options?: DecodeOptions): TextDecoding;
}
