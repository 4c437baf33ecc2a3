import { type Limits, throwIfAborted } from "@krait/core";
import { checkIds, checkTextSize, pause } from "./checks.js";
import type { EncodeStreamOptions, TextDecoding, TextTokenizer } from "./types.js";

const pieceUnits = 2 ** 16;

/** UTF-8 bytes as ids 0..255, as byte-level models read them. Needs no file and loses nothing. */
export class BytesTokenizer implements TextTokenizer {
  readonly id = "bytes";
  readonly vocabularySize = 256;

  constructor(readonly limits: Limits) {}

  encode(text: string): Int32Array {
    checkTextSize(text, this.limits);
    return Int32Array.from(Buffer.from(text, "utf8"));
  }

  async *encodeStream(text: string, { signal }: EncodeStreamOptions = {}): AsyncGenerator<Int32Array> {
    checkTextSize(text, this.limits);
    for (let at = 0; at < text.length; ) {
      throwIfAborted(signal, "the tokenizer");
      let end = Math.min(text.length, at + pieceUnits);
      const last = text.charCodeAt(end - 1);
      if (end < text.length && last >= 0xd800 && last <= 0xdbff) end++; // never between the halves of a character
      yield Int32Array.from(Buffer.from(text.slice(at, end), "utf8"));
      at = end;
      await pause();
    }
  }

  decode(ids: Iterable<number>): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(checkIds(ids, this)));
  }

  decoder(): TextDecoding {
    let decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (ids) => {
        const bytes = Uint8Array.from(checkIds(typeof ids === "number" ? [ids] : ids, this));
        return decoder.decode(bytes, { stream: true });
      },
      end: () => {
        const rest = decoder.decode();
        decoder = new TextDecoder("utf-8", { ignoreBOM: true });
        return rest;
      },
    };
  }
}
