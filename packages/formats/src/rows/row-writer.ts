import { type FileHandle, open, rm } from "node:fs/promises";
import { type Closable, type DType, dtypeSize, expected, InputError, type TypedArray, UsageError } from "@krait/core";
import { checkOutputPath, readAt, writeAt, writeError } from "../files.js";
import { claimOutput, releaseOutput } from "../output-lock.js";
import { elementBytes } from "../safetensors/elements.js";
import { checkMetadata, checkTensorName, invalidOption, product } from "../safetensors/layout.js";

export interface RowTensor {
  dtype: DType;
  /** Shape of one row; the tensor becomes [rows, ...rowShape]. Empty for one number per row. */
  rowShape: readonly number[];
}

export interface RowWriterOptions<N extends string = string> {
  tensors: Record<N, RowTensor>;
  metadata?: Record<string, string>;
  /** Goes on with the parts that an earlier writer of this name left, of which this many rows count. */
  resumeRows?: number | undefined;
  /** Leaves the parts when `append` or `finish` fails (default: they go). */
  keepOnError?: boolean | undefined;
}

/** Writes tensors whose number of rows is not known before the end. Memory does not grow with the rows. */
export interface RowWriter<N extends string = string> extends Closable {
  readonly path: string;
  /** Rows appended so far. */
  readonly rows: number;
  /** Adds `rows` rows to every tensor. The arrays may be reused once it resolves; await it before the next call. */
  append(data: Readonly<Record<N, TypedArray>>, rows: number): Promise<void>;
  /** Sees to it that all rows so far are on the disk. */
  flush(): Promise<void>;
  /** Puts the result in its place, with this metadata over that of the start, and deletes the parts. */
  finish(options?: { metadata?: Record<string, string>; signal?: AbortSignal }): Promise<void>;
  /** Ends the writer and leaves the parts for `openPartial()` and for a writer with `resumeRows`. Safe to call at any time. */
  leave(): Promise<void>;
  /** Deletes the parts, also those that were left; `path` stays what it was. Safe to call at any time, also after `finish`. */
  abort(): Promise<void>;
  /** `abort()` unless finished. */
  close(): Promise<void>;
}

/** One tensor's rows in a file of their own. */
export interface Part extends RowTensor {
  name: string;
  rowElements: number;
  path: string;
  handle: FileHandle;
}

/** Writes the parts' rows to where they belong. */
export type Join = (
  rows: number,
  parts: readonly Part[],
  metadata: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
) => Promise<void>;

/** What names a file of parts as one of ours. */
export const partialFormat = "krait.partial";
export const partialVersion = 1;

/**
 * Starts rows beside `path`: the claim and manifest `path.partial` and one `path.partial.<n>` per tensor.
 *
 * @param join puts them in their place at the end
 */
export async function createRowWriter<N extends string>(
  path: string,
  { tensors, metadata = {}, resumeRows, keepOnError = false }: RowWriterOptions<N>,
  join: Join,
): Promise<RowWriter<N>> {
  const parts = Object.entries<RowTensor>(tensors).map(([name, { dtype, rowShape }], index) => {
    checkTensorName(name);
    return { name, dtype, rowShape, rowElements: product({ name, shape: rowShape }), path: `${path}.partial.${index}` };
  });
  if (parts.length === 0) throw invalidOption("at least one tensor", tensors);
  checkMetadata(metadata);
  await checkOutputPath(path);
  const claim = `${path}.partial`;
  const notes = {
    format: partialFormat,
    version: partialVersion,
    tensors: parts.map(({ name, dtype, rowShape }) => ({ name, dtype, rowShape })),
    metadata,
  };
  try {
    await claimOutput(claim, notes);
  } catch (error) {
    throw writeError(error, path);
  }
  const opened: Part[] = [];
  try {
    for (const part of parts) {
      if (resumeRows === undefined) {
        // What a dead writer left may be anything; a fresh file cannot be a link to elsewhere.
        await rm(part.path, { force: true });
        opened.push({ ...part, handle: await open(part.path, "wx+") });
      } else {
        opened.push({ ...part, handle: await open(part.path, "r+") });
        await cutPart(opened.at(-1)!, resumeRows);
      }
    }
    await rm(`${claim}.whole`, { force: true });
    await rm(`${claim}.state.next`, { force: true });
    if (resumeRows === undefined) await rm(`${claim}.state`, { force: true });
    return new PartWriter(path, opened, metadata, notes, keepOnError, resumeRows ?? 0, join) as RowWriter<N>;
  } catch (error) {
    if (resumeRows === undefined) await discard(claim, opened);
    else {
      // What was found is not ours to delete.
      for (const { handle } of opened) await handle.close().catch(() => {});
      await releaseOutput(claim, notes).catch(() => {});
    }
    throw writeError(error, path);
  }
}

/** Drops the rows behind the last one that counts: they were written by a run that went on a little longer. */
async function cutPart({ handle, rowElements, dtype, path }: Part, rows: number): Promise<void> {
  const info = await handle.stat();
  const bytes = rows * rowElements * dtypeSize(dtype);
  if (!info.isFile() || info.size < bytes) {
    throw new InputError(expected(`at least ${bytes} bytes`, path, info.size), {
      code: "PARTIAL_INVALID",
      hint: "The parts of the earlier run are damaged: start anew without resuming.",
    });
  }
  await handle.truncate(bytes);
}

class PartWriter implements RowWriter {
  #busy: Promise<void> | undefined;
  #state: "open" | "left" | "done" = "open";

  constructor(
    readonly path: string,
    readonly parts: readonly Part[],
    readonly metadata: Readonly<Record<string, string>>,
    readonly notes: object,
    readonly keepOnError: boolean,
    public rows: number,
    readonly join: Join,
  ) {}

  async append(data: Readonly<Record<string, TypedArray>>, rows: number): Promise<void> {
    if (!(Number.isSafeInteger(rows) && rows >= 0)) throw invalidOption("a whole number of rows", rows);
    const pieces = this.parts.map((part) => {
      const array = data[part.name];
      if (array === undefined) throw invalidOption(`data for ${part.name}`, array);
      return elementBytes(part.name, part.dtype, array, rows * part.rowElements);
    });
    await this.#alone(async () => {
      const writes = this.parts.map((part, i) => {
        const position = this.rows * part.rowElements * dtypeSize(part.dtype);
        return writeAt(part.handle, pieces[i]!, position);
      });
      // All must settle before the parts may be closed.
      for (const result of await Promise.allSettled(writes)) if (result.status === "rejected") throw result.reason;
      this.rows += rows;
    });
  }

  async flush(): Promise<void> {
    await this.#alone(async () => {
      for (const { handle } of this.parts) await handle.datasync();
    });
  }

  async finish({
    metadata = {},
    signal,
  }: {
    metadata?: Record<string, string>;
    signal?: AbortSignal;
  } = {}): Promise<void> {
    checkMetadata(metadata);
    await this.#alone(async () => {
      await this.join(this.rows, this.parts, { ...this.metadata, ...metadata }, signal);
      this.#state = "done";
      await discard(`${this.path}.partial`, this.parts);
    });
  }

  async leave(): Promise<void> {
    await this.#busy?.catch(() => {});
    if (this.#state !== "open") return;
    this.#state = "left";
    for (const { handle } of this.parts) await handle.close().catch(() => {});
    // On a full disk the claim stays as it is: the next writer sees that this process has gone.
    await releaseOutput(`${this.path}.partial`, this.notes).catch(() => {});
  }

  async abort(): Promise<void> {
    await this.#busy?.catch(() => {});
    if (this.#state === "done") return;
    this.#state = "done";
    await discard(`${this.path}.partial`, this.parts);
  }

  close(): Promise<void> {
    return this.abort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  /** Runs one operation at a time; a failed one ends the writer, since its parts may have come out of step. */
  async #alone(work: () => Promise<void>): Promise<void> {
    if (this.#state !== "open") throw this.#misuse("CLOSED", "an open writer", "a finished or aborted one");
    if (this.#busy !== undefined) throw this.#misuse("WRITER_BUSY", "one call at a time", "a call during another");
    this.#busy = work();
    try {
      await this.#busy;
    } catch (error) {
      await (this.keepOnError ? this.leave() : this.abort());
      throw writeError(error, this.path);
    } finally {
      this.#busy = undefined;
    }
  }

  #misuse(code: string, what: string, received: string): UsageError {
    return new UsageError(expected(what, `the writer of ${this.path}`, received), {
      code,
      hint: "Await every append() before the next one, and finish() last.",
    });
  }
}

/** Copies a part's first bytes behind position `at` of another file. */
export async function copyPart(
  from: FileHandle,
  to: FileHandle,
  at: number,
  bytes: number,
  signal?: AbortSignal,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(bytes, 2 ** 20));
  for (let done = 0; done < bytes; ) {
    const piece = buffer.subarray(0, Math.min(buffer.length, bytes - done));
    const n = await readAt(from, piece, done, signal);
    if (n < piece.length) {
      throw new UsageError(expected(`${bytes} bytes`, "a part of the output", done + n), {
        code: "OUTPUT_BUSY",
        hint: "Another program cut the part file; write to a folder of your own.",
      });
    }
    await writeAt(to, piece, at + done, signal);
    done += n;
  }
}

/** The claim goes last: while it stands, nobody else touches the parts. */
async function discard(claim: string, parts: readonly Part[]): Promise<void> {
  for (const part of parts) {
    await part.handle.close().catch(() => {});
    await rm(part.path, { force: true }).catch(() => {});
  }
  for (const name of ["state", "state.next"]) await rm(`${claim}.${name}`, { force: true }).catch(() => {});
  await rm(claim, { force: true }).catch(() => {});
}
