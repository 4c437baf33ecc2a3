import { expected, InputError, type Limits, UsageError } from "@krait/core";
import type { TextTokenizer } from "./types.js";

export function checkTextSize(text: string, limits: Limits): void {
  if (typeof text !== "string") {
    throw new UsageError(expected("a string", "the text", text), {
      code: "INVALID_OPTION",
      hint: "Read files with readTextSource() first.",
    });
  }
  // A UTF-16 unit is one byte of UTF-8 at least and three at most, so that most texts need no count.
  if (text.length * 3 <= limits.maxTextBytes) return;
  const bytes = text.length > limits.maxTextBytes ? text.length : Buffer.byteLength(text);
  if (bytes > limits.maxTextBytes) throw textTooLong("the text", bytes, limits);
}

export function textTooLong(name: string, bytes: number, limits: Limits): InputError {
  return new InputError(expected(`at most ${limits.maxTextBytes} bytes of text`, name, bytes), {
    code: "TEXT_TOO_LONG",
    hint: "Split the text, or raise limits.maxTextBytes.",
  });
}

/** The ids as an array, each of them one of the vocabulary. */
export function checkIds(ids: Iterable<number>, { vocabularySize }: Pick<TextTokenizer, "vocabularySize">): number[] {
  const list = Array.from(ids);
  for (const id of list) {
    if (!(Number.isInteger(id) && id >= 0 && id < vocabularySize)) throw unknownId(id, vocabularySize);
  }
  return list;
}

export function unknownId(id: number, vocabularySize: number): UsageError {
  return new UsageError(expected(`ids of a vocabulary of ${vocabularySize}`, "decode()", id), {
    code: "TOKEN_ID_UNKNOWN",
    hint: "Decode with the tokenizer that belongs to the model; a model's padded vocabulary has ids without text.",
  });
}

/** Lets timers and input run. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
