import { setImmediate as breathe } from "node:timers/promises";
import { modalityCodes, windowOf } from "@krait/tokenizers";
import { z } from "zod";
import type { FeaturePart } from "./features.js";

/**
 * What one row stands for: "token" leaves the sequence as it is; "frame" is the mean over neighbouring tokens of one modality with the
 * same start and end (a tubelet's patches, a text without times); a number is the mean per modality over windows [k·n, (k+1)·n) of n seconds;
 * "class" is the class token alone.
 */
export const poolSchema = z.union([z.enum(["token", "frame", "class"]), z.number().min(1e-3).max(1e6)]);
export type Pool = z.output<typeof poolSchema>;

/** Numbers that are added up before the event loop gets its turn. */
const NUMBERS_PER_TURN = 2 ** 20;

/** A row that grows. */
export interface Row {
  /** In float64, in the order of the sequence: so no cut of it into parts changes a digit. */
  sum: Float64Array;
  count: number;
  modality: number;
  start: number;
  end: number;
  window: number;
}

/**
 * Pools parts as they come. What is held is one row, or those of one window of the sequence. A row's start is the earliest of its tokens and
 * its end the latest; separators and the class token are pooled as modalities of their own. Rows of windows are ordered by window, then by first token.
 *
 * @param windowSeconds of the sequence: no token behind a border k·w starts before it
 */
export function createPooler(pool: Exclude<Pool, "token">, windowSeconds: number): Pooler {
  if (pool === "class") return new ClassPooler();
  return pool === "frame" ? new FramePooler() : new WindowPooler(pool, windowSeconds);
}

/** Runs parts through a pooler. */
export async function* poolParts(
  parts: AsyncIterable<FeaturePart>,
  pooler: Pooler,
): AsyncGenerator<FeaturePart, void, undefined> {
  for await (const part of parts) {
    const step = Math.max(1, Math.floor(NUMBERS_PER_TURN / part.dim));
    for (let i = 0; i < part.count; i++) {
      pooler.add(part, i);
      if ((i + 1) % step === 0) await breathe();
    }
    const rows = pooler.take();
    if (rows.length > 0) yield partOf(rows);
  }
  pooler.end();
  const rows = pooler.take();
  if (rows.length > 0) yield partOf(rows);
}

/** Takes tokens and gives out rows. What it holds in between can be saved and restored, so that a run may go on in another process. */
export interface Pooler {
  add(part: FeaturePart, i: number): void;
  /** No token follows. */
  end(): void;
  /** The rows that are complete. */
  take(): Row[];
  /** The rows that are not; asked for when the complete ones have been taken. */
  save(): PoolerState;
  restore(state: PoolerState): void;
}

export interface PoolerState {
  rows: Row[];
  /** What else it has to know: numbers of its own kind. */
  mark: number;
}

class FramePooler implements Pooler {
  private open: Row | undefined;
  /** The class token, where it parts the tokens of the open row. */
  private parting: Row[] = [];
  private place = -1;
  private done: Row[] = [];

  save(): PoolerState {
    return { rows: this.open ? [this.open, ...this.parting] : [], mark: this.place };
  }

  restore({ rows, mark }: PoolerState): void {
    [this.open, ...this.parting] = rows;
    this.place = mark;
  }

  add(part: FeaturePart, i: number): void {
    const { open } = this;
    if (part.modality[i] === modalityCodes.class) {
      const row = rowOf(part, i, 0);
      addTo(row, part, i);
      (open ? this.parting : this.done).push(row);
      return;
    }
    // Tubelets of two sources may have equal times: in a new one the patches begin again.
    const place = part.row[i]! * 65536 + part.column[i]!;
    const again = part.modality[i] === modalityCodes.video && place <= this.place;
    const same =
      open?.modality === part.modality[i] && open?.start === part.start[i] && open?.end === part.end[i] && !again;
    this.place = place;
    if (!same) {
      this.end();
      this.open = rowOf(part, i, 0);
    }
    addTo(this.open!, part, i);
  }

  end(): void {
    if (this.open) this.done.push(this.open, ...this.parting);
    this.open = undefined;
    this.parting = [];
  }

  take(): Row[] {
    return this.done.splice(0);
  }
}

class ClassPooler implements Pooler {
  private done: Row[] = [];

  save(): PoolerState {
    return { rows: [], mark: 0 };
  }

  restore(): void {}

  add(part: FeaturePart, i: number): void {
    if (part.modality[i] !== modalityCodes.class) return;
    const row = rowOf(part, i, 0);
    addTo(row, part, i);
    this.done.push(row);
  }

  end(): void {}

  take(): Row[] {
    return this.done.splice(0);
  }
}

class WindowPooler implements Pooler {
  /** By window and modality, in the order of their first tokens. */
  private readonly open = new Map<string, Row>();
  private border = Number.NEGATIVE_INFINITY;
  private done: Row[] = [];

  constructor(
    private readonly seconds: number,
    private readonly windowSeconds: number,
  ) {}

  save(): PoolerState {
    return { rows: [...this.open.values()], mark: this.border };
  }

  restore({ rows, mark }: PoolerState): void {
    for (const row of rows) this.open.set(keyOf(row.window, row.modality), row);
    this.border = mark;
  }

  add(part: FeaturePart, i: number): void {
    const start = part.start[i]!;
    const border = windowOf(start, this.windowSeconds) * this.windowSeconds;
    if (border > this.border) {
      this.border = border;
      this.close(border);
    }
    const window = windowOf(start, this.seconds);
    const key = keyOf(window, part.modality[i]!);
    let row = this.open.get(key);
    if (!row) {
      row = rowOf(part, i, window);
      this.open.set(key, row);
    }
    addTo(row, part, i);
  }

  end(): void {
    this.close(Number.POSITIVE_INFINITY);
  }

  take(): Row[] {
    return this.done.splice(0);
  }

  private close(before: number): void {
    const closed: Row[] = [];
    for (const [key, row] of this.open) {
      if ((row.window + 1) * this.seconds > before) continue;
      closed.push(row);
      this.open.delete(key);
    }
    this.done.push(...closed.sort((a, b) => a.window - b.window));
  }
}

function keyOf(window: number, modality: number): string {
  return `${window} ${modality}`;
}

function rowOf({ dim, modality, start, end }: FeaturePart, i: number, window: number): Row {
  return {
    sum: new Float64Array(dim),
    count: 0,
    modality: modality[i]!,
    start: start[i]!,
    end: end[i]!,
    window,
  };
}

function addTo(row: Row, { features, dim, start, end }: FeaturePart, i: number): void {
  const { sum } = row;
  for (let j = 0, at = i * dim; j < dim; j++, at++) sum[j]! += features[at]!;
  row.count++;
  row.start = Math.min(row.start, start[i]!);
  row.end = Math.max(row.end, end[i]!);
}

function partOf(rows: readonly Row[]): FeaturePart {
  const dim = rows[0]!.sum.length;
  const features = new Float32Array(rows.length * dim);
  rows.forEach(({ sum, count }, i) => {
    for (let j = 0; j < dim; j++) features[i * dim + j] = sum[j]! / count;
  });
  return {
    count: rows.length,
    dim,
    features,
    start: Float64Array.from(rows, (row) => row.start),
    end: Float64Array.from(rows, (row) => row.end),
    modality: Uint8Array.from(rows, (row) => row.modality),
    // A place in a frame is lost in a mean.
    row: new Uint16Array(rows.length),
    column: new Uint16Array(rows.length),
  };
}
