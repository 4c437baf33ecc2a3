import { expected, InputError, type LimitsInput, limitsSchema, parseOptions } from "@krait/core";
import { decodeUtf8, openRegularFile, readAt } from "@krait/formats";
import { checkTextSize, textTooLong } from "./checks.js";

/** Where a text comes from: a file of UTF-8, or the text itself. */
export type TextInput = { file: string } | { text: string };

export interface ReadTextOptions {
  limits?: LimitsInput;
  signal?: AbortSignal;
}

/**
 * The text of an input, checked strictly. A byte order mark in front of a file is a mark and no text, and goes. Line ends
 * and NUL stay.
 *
 * Throws `InputError`: TEXT_NOT_UTF8 (with the offset of the first bad byte), TEXT_NOT_UNICODE (a lone surrogate in a
 * string, with its index), TEXT_TOO_LONG, FILE_EMPTY, FILE_NOT_FOUND, NOT_A_FILE, FILE_NOT_READABLE; and `AbortedError`.
 */
export async function readTextSource(input: TextInput, options: ReadTextOptions = {}): Promise<string> {
  const limits = parseOptions(limitsSchema, options.limits ?? {}, "readTextSource() limits");
  if (!("file" in input)) {
    checkTextSize(input.text, limits);
    const lone = input.text.search(/\p{Surrogate}/u);
    if (lone < 0) return input.text;
    throw new InputError(expected("whole characters", "the text", `half of one at index ${lone}`), {
      code: "TEXT_NOT_UNICODE",
      hint: "Cut strings between characters, not between UTF-16 units.",
    });
  }
  const { handle, size } = await openRegularFile(input.file);
  let bytes: Uint8Array;
  try {
    if (size > limits.maxTextBytes) throw textTooLong(input.file, size, limits);
    bytes = new Uint8Array(size);
    bytes = bytes.subarray(0, await readAt(handle, bytes, 0, options.signal));
  } finally {
    await handle.close();
  }
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw new InputError(expected("UTF-8", input.file, "the byte order mark of UTF-16"), {
      code: "TEXT_NOT_UTF8",
      hint: "Convert it: iconv -f UTF-16 -t UTF-8.",
    });
  }
  const text = decodeUtf8(bytes, input.file, "TEXT_NOT_UTF8");
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}
