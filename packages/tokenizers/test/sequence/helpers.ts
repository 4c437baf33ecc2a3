import {
  createTokenColumns,
  isMark,
  partLength,
  type SequencePart,
  type SourceModality,
  type TokenBlock,
  type TokenSource,
  tokenSource,
  writeTokenColumns,
} from "../../src/sequence/index.js";

/** A token that a test can recognise again: its id is the payload. */
export interface Token {
  start: number;
  end: number;
  id: number;
}

export function tokens(first: number, period: number, count: number, id = 0): Token[] {
  return Array.from({ length: count }, (_, i) => ({
    start: first + i * period,
    end: first + (i + 1) * period,
    id: id + i,
  }));
}

export function block(modality: SourceModality, list: readonly Token[]): TokenBlock<number[]> {
  return {
    modality,
    count: list.length,
    start: Float64Array.from(list, (t) => t.start),
    end: Float64Array.from(list, (t) => t.end),
    row: Uint16Array.from(list, (t) => t.id % 7),
    column: Uint16Array.from(list, (t) => t.id % 5),
    payload: list.map((t) => t.id),
  };
}

/** mulberry32 */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Watched extends TokenSource<number[]> {
  pulled: number;
  returned: number;
}

/** A source cut into blocks: of `size` tokens, or at random (with random delays) when given a generator. */
export function source(
  modality: SourceModality,
  list: readonly Token[],
  { size = 4, rng, timed = true }: { size?: number; rng?: () => number; timed?: boolean } = {},
): Watched {
  const watched = { pulled: 0, returned: 0 };
  async function* blocks() {
    let finished = false;
    try {
      for (let at = 0; at < list.length; ) {
        const n = rng ? Math.floor(rng() * 6) : size;
        if (rng && rng() < 0.3) await new Promise((resolve) => setTimeout(resolve, Math.floor(rng() * 3)));
        watched.pulled = Math.min(list.length, at + n);
        yield block(modality, list.slice(at, at + n));
        at += n;
      }
      finished = true;
    } finally {
      if (!finished) watched.returned++;
    }
  }
  return Object.assign(watched, tokenSource({ modality, timed }, blocks()));
}

export type Flat = [modality: number, id: number, start: number, end: number];

/** One row per token; the id of a separator and the class token is -1. */
export function flatten(parts: readonly SequencePart<number[]>[]): Flat[] {
  const columns = createTokenColumns(parts.reduce((n, part) => n + partLength(part), 0));
  const ids: number[] = [];
  let at = 0;
  for (const part of parts) {
    at += writeTokenColumns(part, columns, at);
    if (isMark(part)) ids.push(-1);
    else ids.push(...part.block.payload.slice(part.from, part.to));
  }
  return ids.map((id, i) => [columns.modality[i]!, id, columns.start[i]!, columns.end[i]!]);
}

export async function collect<T>(iterable: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of iterable) all.push(item);
  return all;
}
