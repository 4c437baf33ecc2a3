import { expected, UsageError } from "@krait/core";
import { isMark, type SequencePart, type TokenBlock, type TokenSource } from "./types.js";

/** What is known of each token of a sequence, as columns. Modality holds the codes of `modalityCodes`. */
export interface TokenColumns {
  modality: Uint8Array;
  start: Float64Array;
  end: Float64Array;
  row: Uint16Array;
  column: Uint16Array;
}

/** Zeroed columns for `count` tokens. */
export function createTokenColumns(count: number): TokenColumns {
  return {
    modality: new Uint8Array(count),
    start: new Float64Array(count),
    end: new Float64Array(count),
    row: new Uint16Array(count),
    column: new Uint16Array(count),
  };
}

/** Tokens in a part: 1 for a separator and the class token. */
export function partLength(part: SequencePart): number {
  return isMark(part) ? 1 : part.to - part.from;
}

/** Writes a part's tokens into columns from token `at` on. Returns how many it wrote. Throws `UsageError` (COLUMNS_FULL). */
export function writeTokenColumns(part: SequencePart, target: TokenColumns, at: number): number {
  const count = partLength(part);
  if (at + count > target.modality.length) {
    throw new UsageError(expected(`room for ${count} tokens from token ${at}`, "the columns", target.modality.length), {
      code: "COLUMNS_FULL",
      hint: "Make the columns as long as the chunk, and cut a part where the chunk is full.",
    });
  }
  target.modality.fill(part.modality, at, at + count);
  if (isMark(part)) {
    target.start[at] = part.time;
    target.end[at] = part.time;
    target.row[at] = 0;
    target.column[at] = 0;
    return 1;
  }
  const { block, from, to } = part;
  target.start.set(block.start.subarray(from, to), at);
  target.end.set(block.end.subarray(from, to), at);
  target.row.set(block.row.subarray(from, to), at);
  target.column.set(block.column.subarray(from, to), at);
  return count;
}

/** Names an iterable of blocks as a source for `interleave`. */
export function tokenSource<P>(
  description: Pick<TokenSource<P>, "modality" | "timed">,
  blocks: AsyncIterable<TokenBlock<P>>,
): TokenSource<P> {
  return { ...description, [Symbol.asyncIterator]: () => blocks[Symbol.asyncIterator]() };
}
