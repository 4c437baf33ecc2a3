import type { FileHandle } from "node:fs/promises";
import { extname } from "node:path";
import {
  type Closable,
  EnvironmentError,
  expected,
  InputError,
  type LimitsInput,
  limitsSchema,
  newTypedArray,
  parseOptions,
  type TypedArray,
  toFloat32,
  UsageError,
  viewTypedArray,
} from "@krait/core";
import { z } from "zod";
import { openRegularFile, readAt } from "../files.js";
import { assertLittleEndian } from "./elements.js";
import { invalid, parseHeader, type TensorEntry } from "./header.js";

const pickleNames = new Set([".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"]);

const openOptionsSchema = z.strictObject({ limits: limitsSchema });

export interface OpenSafetensorsOptions {
  limits?: LimitsInput;
}

export interface ReadOptions {
  signal?: AbortSignal;
}

/** An open file of tensors. Reads are positioned and may run side by side. */
export interface SafetensorsFile extends Closable {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** All elements of a tensor in row-major order; bf16 and f16 as raw 16-bit patterns. */
  read(name: string, options?: ReadOptions): Promise<TypedArray>;
  /** Rows [from, to) of a tensor of rank 1 or more: slices along its first dimension. */
  readRows(name: string, from: number, to: number, options?: ReadOptions): Promise<TypedArray>;
  /** As `read`, with bf16, f16 and f64 converted to f32. */
  readFloat32(name: string, options?: ReadOptions): Promise<Float32Array>;
  /** Of the open file, for readers outside of JavaScript; they ask `expectUnchanged` before and after. */
  readonly fd: number;
  /** Throws FILE_CHANGED when the file was rewritten or cut since it was opened. */
  expectUnchanged(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a safetensors file and checks its header whole before any tensor is read.
 *
 * Throws `InputError`: FILE_NOT_FOUND, NOT_A_FILE, FILE_EMPTY, FILE_NOT_READABLE, PICKLE_REFUSED, SAFETENSORS_TRUNCATED,
 * SAFETENSORS_HEADER_TOO_LONG, SAFETENSORS_HEADER, SAFETENSORS_DTYPE, SAFETENSORS_SHAPE, SAFETENSORS_OFFSETS,
 * SAFETENSORS_OVERLAP, SAFETENSORS_HOLE, SAFETENSORS_TRAILING_BYTES, SAFETENSORS_TOO_MANY_TENSORS, and the JSON_* codes of
 * `parseStrictJson`. Reads throw `InputError` (DTYPE_UNSUPPORTED, FILE_CHANGED), `UsageError` (TENSOR_NOT_FOUND, CLOSED,
 * INVALID_OPTION), `EnvironmentError` (OUT_OF_MEMORY) and `AbortedError`.
 */
export async function openSafetensors(path: string, options: OpenSafetensorsOptions = {}): Promise<SafetensorsFile> {
  const { limits } = parseOptions(openOptionsSchema, options, "openSafetensors()");
  if (typeof path === "string" && pickleNames.has(extname(path).toLowerCase()))
    throw pickleRefused(path, extname(path));
  const { handle, size, mtimeMs } = await openRegularFile(path);
  try {
    const start = new Uint8Array(8);
    const got = await readAt(handle, start, 0);
    refuseMagic(path, start);
    if (got < 8) throw invalid("TRUNCATED", "at least 8 bytes", path, size);
    const length = new DataView(start.buffer).getBigUint64(0, true);
    if (length > BigInt(limits.maxHeaderBytes))
      throw invalid("HEADER_TOO_LONG", `a header of at most ${limits.maxHeaderBytes} bytes`, path, length);
    if (length > BigInt(size - 8)) throw invalid("HEADER_TOO_LONG", `a header within the ${size} bytes`, path, length);
    const bytes = new Uint8Array(Number(length));
    if ((await readAt(handle, bytes, 8)) < bytes.length) throw changed(path);
    const header = parseHeader(bytes, size - 8 - bytes.length, path, limits.maxTensors);
    assertLittleEndian();
    return new OpenFile(path, handle, header.tensors, header.metadata, size, mtimeMs);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

class OpenFile implements SafetensorsFile {
  #closed = false;

  constructor(
    readonly path: string,
    readonly handle: FileHandle,
    readonly tensors: ReadonlyMap<string, TensorEntry>,
    readonly metadata: Readonly<Record<string, string>>,
    readonly size: number,
    readonly mtimeMs: number,
  ) {}

  async read(name: string, { signal }: ReadOptions = {}): Promise<TypedArray> {
    const { entry } = this.#readable(name);
    return this.#elements(name, entry.byteOffset, entry.byteLength, signal);
  }

  async readRows(name: string, from: number, to: number, { signal }: ReadOptions = {}): Promise<TypedArray> {
    const { entry } = this.#readable(name);
    const rows = entry.shape[0];
    if (
      rows === undefined ||
      !(Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= rows)
    ) {
      throw new UsageError(
        expected(`rows within [0, ${rows ?? "none"}]`, `readRows(${JSON.stringify(name)})`, [from, to]),
        {
          code: "INVALID_OPTION",
          hint: "Rows are whole numbers along the first dimension; a tensor of rank 0 has none.",
        },
      );
    }
    const rowBytes = rows === 0 ? 0 : entry.byteLength / rows;
    return this.#elements(name, entry.byteOffset + from * rowBytes, (to - from) * rowBytes, signal);
  }

  async readFloat32(name: string, options: ReadOptions = {}): Promise<Float32Array> {
    const { dtype } = this.#readable(name);
    toFloat32(dtype, newTypedArray(dtype, 0)); // refuses integers before gigabytes of them are read
    return toFloat32(dtype, await this.read(name, options));
  }

  get fd(): number {
    return this.handle.fd;
  }

  async expectUnchanged(): Promise<void> {
    const now = await this.handle.stat();
    if (now.size !== this.size || now.mtimeMs !== this.mtimeMs) throw changed(this.path);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #readable(name: string) {
    if (this.#closed) {
      throw new UsageError(expected("an open file", this.path, "a closed one"), {
        code: "CLOSED",
        hint: "Read before close(), or open the file again.",
      });
    }
    const entry = this.tensors.get(name);
    if (entry === undefined) {
      throw new UsageError(expected("the name of a tensor", this.path, name), {
        code: "TENSOR_NOT_FOUND",
        hint: `It holds ${this.tensors.size} tensors; the first are ${[...this.tensors.keys()].slice(0, 5).join(", ")}.`,
      });
    }
    if (entry.dtype === undefined) {
      throw new InputError(expected("a dtype that can be read", `tensor ${JSON.stringify(name)}`, entry.storedDtype), {
        code: "DTYPE_UNSUPPORTED",
        hint: "Convert it to F32 or BF16 with the program that wrote it.",
      });
    }
    return { entry, dtype: entry.dtype };
  }

  async #elements(name: string, byteOffset: number, byteLength: number, signal?: AbortSignal): Promise<TypedArray> {
    const { dtype } = this.#readable(name);
    // A file that was rewritten in place under the handle would give bytes of another header.
    await this.expectUnchanged();
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(byteLength);
    } catch (cause) {
      throw new EnvironmentError(
        expected("memory", `tensor ${JSON.stringify(name)}`, `a need of ${byteLength} bytes`),
        {
          code: "OUT_OF_MEMORY",
          hint: "Read it in parts with readRows().",
          cause,
        },
      );
    }
    if ((await readAt(this.handle, bytes, byteOffset, signal)) < byteLength) throw changed(this.path);
    const size = viewTypedArray(dtype, bytes.buffer, 0, 0).BYTES_PER_ELEMENT;
    return viewTypedArray(dtype, bytes.buffer, 0, byteLength / size);
  }
}

function refuseMagic(path: string, start: Uint8Array): void {
  const is = (...bytes: number[]) => bytes.every((byte, i) => start[i] === byte);
  if (is(0x50, 0x4b, 0x03, 0x04) || is(0x50, 0x4b, 0x05, 0x06)) throw pickleRefused(path, "a zip archive");
  // Protocols 2 to 5. The same two bytes can begin the length of an honest header, but then zeros follow.
  if (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5 && start.subarray(2).some((byte) => byte !== 0))
    throw pickleRefused(path, "a pickle");
}

function pickleRefused(path: string, received: string): InputError {
  return new InputError(expected("a safetensors file", path, received), {
    code: "PICKLE_REFUSED",
    hint: "Pickles can run code when they are read. Convert it where you trust it: safetensors.torch.save_file(torch.load(file, weights_only=True), 'model.safetensors').",
  });
}

function changed(path: string): InputError {
  return new InputError(expected("a file that stays as it is", path, "one that changed while it was read"), {
    code: "FILE_CHANGED",
    hint: "Another program writes to it; wait until it is done, then open it again.",
  });
}
