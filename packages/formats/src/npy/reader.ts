import {
  type Closable,
  type DType,
  dtypeSize,
  expected,
  InputError,
  type TypedArray,
  UsageError,
  viewTypedArray,
} from "@krait/core";
import { openRegularFile, readAt } from "../files.js";
import { npyPreamble, parseNpyHeader } from "./header.js";

/** An open npy file: one array. */
export interface NpyFile extends Closable {
  readonly path: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Rows [from, to): slices along the first dimension. */
  readRows(from: number, to: number, options?: { signal?: AbortSignal }): Promise<TypedArray>;
  close(): Promise<void>;
}

/**
 * Opens a file of numpy.save and checks its header whole (the NumPy Enhancement Proposal 1, versions 1.0 to 3.0). Objects, which are
 * pickles, are refused like every dtype that is none of ours.
 *
 * Throws `InputError` (FILE_NOT_FOUND, NOT_A_FILE, FILE_EMPTY, FILE_NOT_READABLE, NPY_INVALID); reads `UsageError` (INVALID_OPTION),
 * `InputError` (FILE_CHANGED), `AbortedError`.
 */
export async function openNpy(path: string): Promise<NpyFile> {
  const { handle, size } = await openRegularFile(path);
  try {
    const head = new Uint8Array(12);
    const got = await readAt(handle, head, 0);
    const { begin, length } = npyPreamble(head.subarray(0, got), path);
    const text = new Uint8Array(length);
    const n = await readAt(handle, text, begin);
    const header = parseNpyHeader(
      Buffer.from(text.subarray(0, n)).toString("latin1"),
      begin + length,
      size - begin - length,
      path,
    );
    const { dtype, shape, dataOffset } = header;
    const rows = shape[0] ?? 0;
    const rowBytes = shape.slice(1).reduce((a, b) => a * b, dtypeSize(dtype));
    return {
      path,
      dtype,
      shape,
      async readRows(from, to, { signal } = {}) {
        if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= rows)) {
          throw new UsageError(expected(`rows within [0, ${rows}]`, `the rows of ${path}`, [from, to]), {
            code: "INVALID_OPTION",
            hint: "Rows are whole numbers along the first dimension.",
          });
        }
        const bytes = new Uint8Array((to - from) * rowBytes);
        if ((await readAt(handle, bytes, dataOffset + from * rowBytes, signal)) < bytes.length) {
          throw new InputError(expected("a file that stays as it is", path, "one that was cut while it was read"), {
            code: "FILE_CHANGED",
            hint: "Another program writes to it; wait until it is done, then open it again.",
          });
        }
        return viewTypedArray(dtype, bytes.buffer, 0, bytes.length / dtypeSize(dtype));
      },
      close: () => handle.close(),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
