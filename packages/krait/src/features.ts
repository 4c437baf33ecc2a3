import { setImmediate as breathe } from "node:timers/promises";
import { throwIfAborted } from "@krait/core";
import { modalityName, type TokenColumns } from "@krait/tokenizers";

/** One token of the sequence. Times are seconds on the source's timeline. */
export interface Token {
  modality: "text" | "audio" | "video" | "class" | "separator";
  start: number;
  end: number;
  /** Place of a patch in its frame; 0 for other modalities. */
  row: number;
  column: number;
}

/** Features of consecutive tokens, as they come out of `stream()`. All arrays are `count` entries long; features are [count, dim]. */
export interface FeaturePart {
  count: number;
  dim: number;
  features: Float32Array;
  start: Float64Array;
  end: Float64Array;
  /** 0 text, 1 audio, 2 video or image, 254 class token, 255 separator. */
  modality: Uint8Array;
  row: Uint16Array;
  column: Uint16Array;
}

/** All features of a sequence at once. */
export interface Features {
  dim: number;
  /** [tokens, dim] */
  data: Float32Array;
  tokens: Token[];
}

export function featurePart(features: Float32Array, dim: number, columns: TokenColumns): FeaturePart {
  return { count: columns.modality.length, dim, features, ...columns };
}

/** Numbers that are copied, and tokens that are listed, before the event loop gets its turn. */
const NUMBERS_PER_TURN = 2 ** 20;
const TOKENS_PER_TURN = 2 ** 12;

/** Throws `AbortedError`. */
export async function joinParts(
  parts: readonly FeaturePart[],
  dim: number,
  signal: AbortSignal | undefined,
): Promise<Features> {
  const count = parts.reduce((sum, p) => sum + p.count, 0);
  const data = new Float32Array(count * dim);
  const tokens: Token[] = [];
  const step = Math.max(1, Math.min(TOKENS_PER_TURN, Math.floor(NUMBERS_PER_TURN / dim)));
  for (const part of parts) {
    for (let from = 0; from < part.count; from += step) {
      const to = Math.min(part.count, from + step);
      data.set(part.features.subarray(from * dim, to * dim), tokens.length * dim);
      for (let i = from; i < to; i++) {
        tokens.push({
          modality: modalityName(part.modality[i]!)!,
          start: part.start[i]!,
          end: part.end[i]!,
          row: part.row[i]!,
          column: part.column[i]!,
        });
      }
      await breathe();
      throwIfAborted(signal, "encoding");
    }
  }
  return { dim, data, tokens };
}
