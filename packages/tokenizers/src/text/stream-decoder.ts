import type { TextDecoding } from "./types.js";

/** Tokens a window may hold. Only a stream of broken characters fills it; it is shown as it is then. */
const maxWindow = 256;
const replacement = "\ufffd";

/**
 * Decodes a growing list of ids by decoding a short window twice: with and without the newest tokens. What the newest add
 * is their text, spaces included, whatever the decoder does at a text's start. A trailing U+FFFD may be a character that is
 * not whole yet, so it waits.
 */
export class StreamDecoder implements TextDecoding {
  // ids[0..shown) is context whose text is out; shown.. are tokens whose text is not complete.
  #ids: number[] = [];
  #shown = 0;
  /** UTF-16 units of the window's text that are out, beyond the context's. */
  #out = 0;

  constructor(readonly decode: (ids: readonly number[]) => string) {}

  push(ids: number | Iterable<number>): string {
    let text = "";
    for (const id of typeof ids === "number" ? [ids] : ids) text += this.#pushOne(id);
    return text;
  }

  end(): string {
    const rest = this.#newText().slice(this.#out);
    this.#ids = [];
    this.#shown = 0;
    this.#out = 0;
    return rest;
  }

  #newText(): string {
    return this.decode(this.#ids).slice(this.decode(this.#ids.slice(0, this.#shown)).length);
  }

  #pushOne(id: number): string {
    this.#ids.push(id);
    const text = this.#newText();
    const waits = text.endsWith(replacement) && this.#ids.length < maxWindow;
    const piece = text.slice(this.#out, waits ? -1 : undefined);
    if (waits) {
      this.#out += piece.length;
    } else if (text !== "") {
      this.#ids = this.#ids.slice(this.#shown);
      this.#shown = this.#ids.length;
      this.#out = 0;
    }
    return piece;
  }
}
