import { type Limits, throwIfAborted } from "@krait/core";
import { checkIds, checkTextSize, pause, unknownId } from "./checks.js";
import type { LibraryTokenizer } from "./library-types.js";
import { TextCutter } from "./pieces.js";
import { StreamDecoder } from "./stream-decoder.js";
import { invalid } from "./tokenizer-file.js";
import type { DecodeOptions, EncodeOptions, EncodeStreamOptions, TextDecoding, TextTokenizer } from "./types.js";

const standIn = "\ufdd0"; // a noncharacter, so no token of a text

/** A tokenizer.json. Its `truncation` and `padding` are ignored: a stream has neither. */
export class JsonTokenizer implements TextTokenizer {
  readonly vocabularySize: number;
  readonly #cutter: TextCutter;
  readonly #before: readonly number[];
  readonly #after: readonly number[];

  constructor(
    readonly id: string,
    readonly path: string,
    readonly tokenizer: LibraryTokenizer,
    readonly limits: Limits,
  ) {
    this.#cutter = new TextCutter(tokenizer);
    const ids = [...tokenizer.get_vocab().values()];
    this.vocabularySize = ids.reduce((greatest, id) => Math.max(greatest, id), -1) + 1;
    // The template is applied once around all pieces of a text.
    const around = tokenizer.post_processor?.post_process([standIn], null, true).tokens ?? [standIn];
    const middle = around.indexOf(standIn);
    if (middle < 0) throw invalid(path, "a template that holds the text", around);
    this.#before = around.slice(0, middle).map((token) => this.#tokenId(token));
    this.#after = around.slice(middle + 1).map((token) => this.#tokenId(token));
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const parts = [...this.#encodeParts(text, options)];
    const ids = new Int32Array(parts.reduce((n, part) => n + part.length, 0));
    let at = 0;
    for (const part of parts) {
      ids.set(part, at);
      at += part.length;
    }
    return ids;
  }

  async *encodeStream(text: string, options: EncodeStreamOptions = {}): AsyncGenerator<Int32Array> {
    throwIfAborted(options.signal, "the tokenizer");
    for (const ids of this.#encodeParts(text, options)) {
      yield ids;
      await pause();
      throwIfAborted(options.signal, "the tokenizer");
    }
  }

  decode(ids: Iterable<number>, { specialTokens = false }: DecodeOptions = {}): string {
    const list = checkIds(ids, this);
    for (const id of list) if (this.tokenizer.id_to_token(id) === undefined) throw unknownId(id, this.vocabularySize);
    if (list.length === 0) return ""; // the library refuses an empty list
    return this.tokenizer.decode(list, {
      skip_special_tokens: !specialTokens,
      clean_up_tokenization_spaces: false, // an option of another file; the reference does not do it
    });
  }

  decoder(options: DecodeOptions = {}): TextDecoding {
    return new StreamDecoder((ids) => this.decode(ids, options));
  }

  *#encodeParts(text: string, { specialTokens = true }: EncodeOptions): Generator<Int32Array> {
    checkTextSize(text, this.limits);
    if (specialTokens && this.#before.length > 0) yield Int32Array.from(this.#before);
    for (const piece of this.#cutter.pieces(text.replace(/\p{Surrogate}/gu, "\ufffd"))) {
      const { ids, tokens } = this.tokenizer.encode(piece, { add_special_tokens: false });
      const bad = ids.indexOf(undefined);
      if (bad >= 0) throw invalid(this.path, "an unknown token (unk_token) or one for every character", tokens[bad]);
      if (ids.length > 0) yield Int32Array.from(ids as number[]);
    }
    if (specialTokens && this.#after.length > 0) yield Int32Array.from(this.#after);
  }

  #tokenId(token: string): number {
    const id = this.tokenizer.token_to_id(token);
    if (id === undefined) throw invalid(this.path, "a template of known tokens", token);
    return id;
  }
}
