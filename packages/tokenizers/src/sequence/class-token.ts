import { expected, InputError } from "@krait/core";
import { partLength } from "./columns.js";
import { isMark, modalityCodes, type SequencePart } from "./types.js";

export interface ClassTokenOptions {
  /** Before all tokens, behind ⌊N/2⌋ of N, or behind all. */
  place: "first" | "middle" | "last";
  /** For "middle": most tokens that are held back until the end of the sequence tells how many there are. */
  holdTokens: number;
  /** For "middle": counts the tokens of a longer sequence, the class token aside. Asked once, when that many are held. */
  count: () => Promise<number>;
}

/**
 * Puts one class token into the whole sequence. Its time is that of the place where it stands: the start of the token behind it, or for
 * "last" the greatest end of all. In the middle it parts what stands there, be it a tubelet. A sequence without tokens stays as it is.
 *
 * "first" and "last" hold nothing back; "middle" holds at most `holdTokens` tokens and the part behind them.
 *
 * Throws `InputError` (LENGTH_CHANGED) where `count` gave another number than there are, and whatever `parts` and `count` throw.
 */
export async function* placeClassToken<P>(
  parts: AsyncIterable<SequencePart<P>>,
  { place, holdTokens, count }: ClassTokenOptions,
): AsyncGenerator<SequencePart<P>, void, undefined> {
  const held: SequencePart<P>[] = [];
  /** Tokens before the class token, once they are known. */
  let before = place === "first" ? 0 : place === "last" ? Number.POSITIVE_INFINITY : undefined;
  let counted: number | undefined;
  let seen = 0;
  let given = 0;
  let end = 0;
  function* give(part: SequencePart<P>): Generator<SequencePart<P>> {
    const length = partLength(part);
    const at = before! - given;
    given += length;
    if (at < 0 || at >= length) {
      yield part;
      return;
    }
    // A separator is one token: what is cut has a block.
    if (at > 0 && !isMark(part)) yield { ...part, to: part.from + at };
    yield { modality: modalityCodes.class, time: isMark(part) ? part.time : part.block.start[part.from + at]! };
    yield at > 0 && !isMark(part) ? { ...part, from: part.from + at } : part;
  }

  for await (const part of parts) {
    const length = partLength(part);
    if (length === 0) continue;
    seen += length;
    if (place === "last") end = Math.max(end, endOf(part));
    if (before === undefined) {
      held.push(part);
      if (seen <= holdTokens) continue;
      counted = await count();
      before = Math.floor(counted / 2);
      for (const one of held.splice(0)) yield* give(one);
    } else yield* give(part);
  }
  if (counted !== undefined && counted !== seen) {
    throw new InputError(expected(`${counted} tokens as counted before`, "the sequence", seen), {
      code: "LENGTH_CHANGED",
      hint: "The middle was found by that number. The input changed while it was read, or its header tells another length: write it anew (ffmpeg -i in -c copy out).",
    });
  }
  before ??= Math.floor(seen / 2);
  for (const one of held) yield* give(one);
  if (place === "last" && seen > 0) yield { modality: modalityCodes.class, time: end };
}

/** The greatest end in a part, in seconds. */
function endOf(part: SequencePart): number {
  if (isMark(part)) return part.time;
  let end = Number.NEGATIVE_INFINITY;
  for (let i = part.from; i < part.to; i++) end = Math.max(end, part.block.end[i]!);
  return end;
}
