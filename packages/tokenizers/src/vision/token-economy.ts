import { parseOptions } from "@krait/core";
import { z } from "zod";
import { pull } from "../pull.js";

const schema = z.strictObject({
  /** Cosine from which a token counts as the one kept before at its place. */
  similarity: z.number().min(-1).max(1).default(0.95),
  /** Seconds after which a token is kept in any case. */
  maxSeconds: z.number().positive().max(86400).default(10),
  signal: z.instanceof(AbortSignal).optional(),
});
export type TokenEconomyOptions = Omit<z.input<typeof schema>, "signal"> & { signal?: AbortSignal | undefined };

/** The tokens of one moment, [tokens, dim]: of a vision tower, say. Each moment has the same places in the same order. */
export interface TokenMoment {
  readonly features: Float32Array;
  readonly tokens: number;
  readonly dim: number;
  readonly start: number;
  readonly end: number;
}

/** A token that stands for `moments` of them at its place, from the first one's start to the last one's end. */
export interface KeptToken {
  readonly features: Float32Array;
  /** Row of the moment it comes from. */
  readonly place: number;
  readonly start: number;
  readonly end: number;
  readonly moments: number;
}

interface Open {
  features: Float32Array;
  start: number;
  end: number;
  moments: number;
}

/**
 * Fewer tokens of still pictures: at each place a token is kept when it differs from the one kept last there. Kept tokens come when their run
 * has ended, so ordered by their ends; together they cover every place at every moment. Holds one token per place.
 *
 * Throws `UsageError` (INVALID_OPTION) and `AbortedError`.
 */
export async function* economizeTokens(
  moments: AsyncIterable<TokenMoment>,
  given: TokenEconomyOptions = {},
): AsyncGenerator<KeptToken, void, undefined> {
  const { similarity, maxSeconds, signal } = parseOptions(schema, given, "economizeTokens()");
  let open: Open[] = [];
  const close = (place: number): KeptToken => ({ ...open[place]!, place });
  for await (const { features, tokens, dim, start, end } of pull(moments, signal, "the token economy")) {
    const changed = open.length !== tokens || open[0]?.features.length !== dim;
    if (changed) {
      for (const place of open.keys()) yield close(place);
      open = [];
    }
    for (let place = 0; place < tokens; place++) {
      const token = features.subarray(place * dim, (place + 1) * dim);
      const before = open[place];
      if (before && start - before.start < maxSeconds && cosine(token, before.features) >= similarity) {
        before.end = end;
        before.moments++;
        continue;
      }
      if (before) yield close(place);
      open[place] = { features: token.slice(), start, end, moments: 1 };
    }
  }
  for (const place of open.keys()) yield close(place);
}

/** Of two zero vectors 1, of one 0. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  if (aa === 0 || bb === 0) return aa === bb ? 1 : 0;
  return ab / Math.sqrt(aa * bb);
}
