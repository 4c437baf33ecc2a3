import { type TokenBlock, type TokenSource, tokenSource } from "../sequence/index.js";
import type { EncodeStreamOptions, TextTokenizer } from "./types.js";

/** A piece of text with its time in seconds: a subtitle, a transcribed phrase. */
export interface TimedText {
  start: number;
  end: number;
  text: string;
}

/**
 * Text as a source of the flat sequence; the payload is the ids. A string has no times and stands before or after the timed
 * sources; timed texts stand where they begin, all tokens of one with its start and end (seconds, starts not falling).
 */
export function textSource(
  tokenizer: TextTokenizer,
  text: string | Iterable<TimedText> | AsyncIterable<TimedText>,
  options: EncodeStreamOptions = {},
): TokenSource<Int32Array> {
  const timed = typeof text !== "string";
  async function* blocks(): AsyncGenerator<TokenBlock<Int32Array>> {
    const texts = typeof text === "string" ? [{ start: 0, end: 0, text }] : text;
    for await (const { start, end, text: words } of texts) {
      for await (const ids of tokenizer.encodeStream(words, options)) {
        const count = ids.length;
        yield {
          modality: 0,
          count,
          start: new Float64Array(count).fill(start),
          end: new Float64Array(count).fill(end),
          row: new Uint16Array(count),
          column: new Uint16Array(count),
          payload: ids,
        };
      }
    }
  }
  return tokenSource({ modality: 0, timed }, blocks());
}
