import { type FileHandle, open, rm } from "node:fs/promises";
import {
  type Closable,
  type DType,
  dtypeSize,
  dtypes,
  expected,
  parseOptions,
  type TypedArray,
  UsageError,
} from "@krait/core";
import { z } from "zod";
import { checkOutputPath, readAt, writeAt, writeAtomically, writeError } from "../files.js";
import { claimOutput } from "../output-lock.js";
import { elementBytes } from "./elements.js";
import { checkMetadata, checkTensorName, invalidOption, layOut, product } from "./layout.js";

const optionsSchema = z.strictObject({
  tensors: z.record(
    z.string(),
    z.strictObject({ dtype: z.enum(dtypes), rowShape: z.array(z.number().int().nonnegative()) }),
  ),
  metadata: z.record(z.string(), z.string()).default({}),
});

export interface RowTensor {
  dtype: DType;
  /** Shape of one row; the tensor becomes [rows, ...rowShape]. Empty for one number per row. */
  rowShape: readonly number[];
}

export interface SafetensorsWriterOptions<N extends string = string> {
  tensors: Record<N, RowTensor>;
  metadata?: Record<string, string>;
}

/** Writes a safetensors file whose number of rows is not known before the end. Memory does not grow with the rows. */
export interface SafetensorsWriter<N extends string = string> extends Closable {
  readonly path: string;
  /** Rows appended so far. */
  readonly rows: number;
  /** Adds `rows` rows to every tensor. The arrays may be reused once it resolves; await it before the next call. */
  append(data: Readonly<Record<N, TypedArray>>, rows: number): Promise<void>;
  /** Puts the file in its place, with this metadata over that of the start, and deletes the parts. */
  finish(options?: { metadata?: Record<string, string>; signal?: AbortSignal }): Promise<void>;
  /** Deletes the parts; `path` stays what it was. Safe to call at any time, also after `finish`. */
  abort(): Promise<void>;
  /** `abort()` unless finished. */
  close(): Promise<void>;
}

/**
 * Starts a file of rows. Until `finish` everything lies beside `path`: the claim `path.partial` and one
 * `path.partial.<n>` per tensor; `finish` joins them into `path.partial.whole`, flushes it and renames it to `path`. An
 * error in `append` or `finish` (a full disk, say) deletes the parts. Parts of a process that died are taken over.
 *
 * Throws `UsageError` (INVALID_OPTION, NOT_A_FILE, OUTPUT_BUSY, WRITER_BUSY, CLOSED), `EnvironmentError` (DISK_FULL,
 * OUTPUT_NOT_WRITABLE, OUTPUT_FOLDER_MISSING), `AbortedError`.
 */
export async function createSafetensorsWriter<N extends string>(
  path: string,
  options: SafetensorsWriterOptions<N>,
): Promise<SafetensorsWriter<N>> {
  const { tensors, metadata } = parseOptions(optionsSchema, options, "createSafetensorsWriter()");
  const parts = Object.entries(tensors).map(([name, { dtype, rowShape }], index) => {
    checkTensorName(name);
    return { name, dtype, rowShape, rowElements: product({ name, shape: rowShape }), path: `${path}.partial.${index}` };
  });
  if (parts.length === 0) throw invalidOption("at least one tensor", tensors);
  checkMetadata(metadata);
  await checkOutputPath(path);
  const claim = `${path}.partial`;
  const opened: Part[] = [];
  try {
    await claimOutput(claim);
  } catch (error) {
    throw writeError(error, path);
  }
  try {
    for (const part of parts) {
      // What a dead writer left may be anything; a fresh file cannot be a link to elsewhere.
      await rm(part.path, { force: true });
      opened.push({ ...part, handle: await open(part.path, "wx+") });
    }
    await rm(`${claim}.whole`, { force: true });
    return new RowWriter(path, opened, metadata) as SafetensorsWriter<N>;
  } catch (error) {
    await discard(claim, opened);
    throw writeError(error, path);
  }
}

interface Part extends RowTensor {
  name: string;
  rowElements: number;
  path: string;
  handle: FileHandle;
}

class RowWriter implements SafetensorsWriter {
  rows = 0;
  #busy: Promise<void> | undefined;
  #open = true;

  constructor(
    readonly path: string,
    readonly parts: readonly Part[],
    readonly metadata: Readonly<Record<string, string>>,
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

  async finish({
    metadata = {},
    signal,
  }: {
    metadata?: Record<string, string>;
    signal?: AbortSignal;
  } = {}): Promise<void> {
    checkMetadata(metadata);
    await this.#alone(async () => {
      const plan = this.parts.map(({ name, dtype, rowShape }) => ({ name, dtype, shape: [this.rows, ...rowShape] }));
      const layout = layOut(plan, { ...this.metadata, ...metadata });
      const write = async (target: FileHandle) => {
        await writeAt(target, layout.header, 0, signal);
        let position = layout.header.length;
        for (const { name, byteLength } of layout.tensors) {
          const part = this.parts.find((candidate) => candidate.name === name)!;
          await copy(part.handle, target, position, byteLength, signal);
          position += byteLength;
        }
      };
      await writeAtomically(this.path, write, `${this.path}.partial.whole`);
      await this.#discard();
    });
  }

  async abort(): Promise<void> {
    await this.#busy?.catch(() => {});
    await this.#discard();
  }

  close(): Promise<void> {
    return this.abort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  /** Runs one operation at a time; a failed one ends the writer, since its parts may have come out of step. */
  async #alone(work: () => Promise<void>): Promise<void> {
    if (!this.#open) throw this.#misuse("CLOSED", "an open writer", "a finished or aborted one");
    if (this.#busy !== undefined) throw this.#misuse("WRITER_BUSY", "one call at a time", "a call during another");
    this.#busy = work();
    try {
      await this.#busy;
    } catch (error) {
      await this.#discard();
      throw writeError(error, this.path);
    } finally {
      this.#busy = undefined;
    }
  }

  async #discard(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await discard(`${this.path}.partial`, this.parts);
  }

  #misuse(code: string, what: string, received: string): UsageError {
    return new UsageError(expected(what, `the writer of ${this.path}`, received), {
      code,
      hint: "Await every append() before the next one, and finish() last.",
    });
  }
}

async function copy(from: FileHandle, to: FileHandle, at: number, bytes: number, signal?: AbortSignal): Promise<void> {
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
  await rm(claim, { force: true }).catch(() => {});
}
