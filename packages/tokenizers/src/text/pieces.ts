import { expected, InputError } from "@krait/core";
import type { LibraryTokenizer } from "./library-types.js";

/** UTF-16 units per call of the library: some 10 ms of work. */
const pieceUnits = 4096;
/** What the library may get at once when no cut is safe: up to 2 s for byte-level ids of CJK text, measured. */
const maxPieceUnits = 65_536;
/** Units on each side of a cut that decide whether it is safe. */
const contextUnits = 64;
const maxCandidates = 64;

const word = /[\p{L}\p{N}\p{M}]/u;

/**
 * Cuts a text where a tokenizer cuts it anyway, so that the pieces' ids joined are the text's ids.
 *
 * A cut is taken only if, in the text around it, the pre-tokenizer has a border there and the ids of both sides joined are
 * the ids of the whole. A tokenizer that prepends a mark to every text gets the right side without its leading space. One
 * without a pre-tokenizer may be cut before a space if no token of its vocabulary reaches over a word's begin.
 */
export class TextCutter {
  readonly #wordsAreAlone: boolean;

  constructor(readonly tokenizer: LibraryTokenizer) {
    this.#wordsAreAlone = tokenizer.pre_tokenizer === null && !hasTokenAcrossWords(tokenizer);
  }

  /** Throws `InputError` (TEXT_UNBREAKABLE). */
  *pieces(text: string): Generator<string> {
    let at = 0;
    while (text.length - at > pieceUnits) {
      const cut = this.#findCut(text, at);
      if (cut === undefined) {
        if (text.length - at <= maxPieceUnits) break;
        const what = `a place to cut within ${maxPieceUnits} characters`;
        throw new InputError(expected(what, `the text at character ${at}`, `${text.length - at} characters without`), {
          code: "TEXT_UNBREAKABLE",
          hint: 'Break the text with spaces or lines, or tokenize it as bytes: { kind: "bytes" }.',
        });
      }
      yield text.slice(at, cut.end);
      at = cut.next;
    }
    if (at < text.length) yield text.slice(at);
  }

  /** The last safe cut of a piece of the usual size, else the first one behind it. */
  #findCut(text: string, from: number): { end: number; next: number } | undefined {
    const usual = from + pieceUnits;
    let tries = 0;
    for (let i = usual; i > from + pieceUnits / 2 && tries < maxCandidates; i--) {
      if (!isWordEnd(text, i)) continue;
      tries++;
      const next = this.#nextStart(text, i);
      if (next !== undefined) return { end: i, next };
    }
    tries = 0;
    const last = Math.min(text.length - 1, from + maxPieceUnits);
    for (let i = usual + 1; i <= last && tries < maxCandidates; i++) {
      if (!isWordEnd(text, i)) continue;
      tries++;
      const next = this.#nextStart(text, i);
      if (next !== undefined) return { end: i, next };
    }
    return undefined;
  }

  #nextStart(text: string, cut: number): number | undefined {
    const left = text.slice(wholeCharacter(text, cut - contextUnits), cut);
    const right = text.slice(cut, wholeCharacter(text, cut + contextUnits));
    const ids = this.#ids(left + right);
    const pieces = this.#preTokens(left + right);
    const leftIds = this.#ids(left);
    const leftPieces = this.#preTokens(left);
    const fits = (rest: string) => {
      if (!equal(ids, [...leftIds, ...this.#ids(rest)])) return false;
      if (pieces === undefined) return this.#wordsAreAlone && right.startsWith(" ");
      return equal(pieces, [...leftPieces!, ...this.#preTokens(rest)!]);
    };
    if (fits(right)) return cut;
    if (right.startsWith(" ") && right[1] !== " " && fits(right.slice(1))) return cut + 1;
    return undefined;
  }

  #ids(text: string): (number | undefined)[] {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  #preTokens(text: string): string[] | undefined {
    const { normalizer, pre_tokenizer: preTokenizer } = this.tokenizer;
    if (preTokenizer === null) return undefined;
    return preTokenizer.pre_tokenize(normalizer === null ? text : normalizer.normalize(text), { section_index: 0 });
  }
}

function isWordEnd(text: string, i: number): boolean {
  return word.test(text[i - 1]!) && !word.test(text[i]!) && !isLow(text.charCodeAt(i)) && !isHigh(text.charCodeAt(i));
}

const isHigh = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number) => unit >= 0xdc00 && unit <= 0xdfff;

/** The nearest index at or before `i` that is not between the halves of a character. */
function wholeCharacter(text: string, i: number): number {
  if (i <= 0) return 0;
  if (i >= text.length) return text.length;
  return isLow(text.charCodeAt(i)) ? i - 1 : i;
}

function hasTokenAcrossWords(tokenizer: LibraryTokenizer): boolean {
  const added = new Set([...tokenizer.get_added_tokens_decoder().values()].map((token) => token.content));
  for (const token of tokenizer.get_vocab().keys())
    if (token !== undefined && !added.has(token) && /[^\u2581 ][\u2581 ]/.test(token)) return true;
  return false;
}

function equal<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
