import type { FileHandle } from "node:fs/promises";
import { stat } from "node:fs/promises";
import {
  type Closable,
  type DType,
  dtypeSize,
  dtypes,
  expected,
  InputError,
  type TypedArray,
  UsageError,
  viewTypedArray,
} from "@krait/core";
import { z } from "zod";
import { openRegularFile, readAt } from "../files.js";
import { parseStrictJson } from "../json.js";
import { maxClaimBytes } from "../output-lock.js";
import { partialFormat, partialVersion } from "./row-writer.js";

const manifestSchema = z.object({
  format: z.literal(partialFormat),
  version: z.literal(partialVersion),
  tensors: z
    .array(
      z.strictObject({
        name: z.string(),
        dtype: z.enum(dtypes),
        rowShape: z
          .array(
            z
              .number()
              .int()
              .nonnegative()
              .max(2 ** 31),
          )
          .max(8),
      }),
    )
    .min(1)
    .max(64),
  metadata: z.record(z.string(), z.string()),
});

/** What a writer that did not finish has left. */
export interface PartialFile extends Closable {
  /** The name that the finished file would have. */
  readonly target: string;
  /** Whole rows of every tensor. */
  readonly rows: number;
  readonly tensors: ReadonlyMap<string, { readonly dtype: DType; readonly shape: readonly number[] }>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Rows [from, to) of a tensor. */
  readRows(name: string, from: number, to: number, options?: { signal?: AbortSignal }): Promise<TypedArray>;
  close(): Promise<void>;
}

/** The finished file's name, of the name of any of the files that a writer keeps beside it. */
export function partialTarget(path: string): string {
  return path.replace(/\.partial(\.(\d+|state|whole))?$/, "");
}

/** Whether a writer has left its manifest for this name. */
export async function hasPartial(path: string): Promise<boolean> {
  return stat(`${partialTarget(path)}.partial`).then(
    (found) => found.isFile(),
    () => false,
  );
}

/**
 * Opens what a writer of `path` left, by that name or the name of one of the parts. While it is still written, the rows are those of now.
 *
 * Throws `InputError` (FILE_NOT_FOUND, NOT_A_FILE, FILE_EMPTY, FILE_NOT_READABLE, PARTIAL_INVALID and the JSON_ codes); reads throw
 * `UsageError` (TENSOR_NOT_FOUND, INVALID_OPTION), `InputError` (PARTIAL_INVALID), `AbortedError`.
 */
export async function openPartial(path: string): Promise<PartialFile> {
  const target = partialTarget(path);
  const manifest = await readManifest(`${target}.partial`);
  const opened: {
    name: string;
    dtype: DType;
    rowShape: number[];
    rowBytes: number;
    handle: FileHandle;
    size: number;
  }[] = [];
  const close = async () => {
    for (const { handle } of opened) await handle.close();
    opened.length = 0;
  };
  try {
    for (const [i, { name, dtype, rowShape }] of manifest.tensors.entries()) {
      const rowBytes = rowShape.reduce((a, b) => a * b, dtypeSize(dtype));
      const part = await openRegularFile(`${target}.partial.${i}`).catch((error: unknown) => {
        // Before the first rows a part is empty.
        if ((error as { code?: string }).code === "FILE_EMPTY") return undefined;
        throw error;
      });
      if (part) opened.push({ name, dtype, rowShape, rowBytes, ...part });
    }
  } catch (error) {
    await close();
    throw error;
  }
  const whole = opened.filter(({ rowBytes }) => rowBytes > 0).map(({ size, rowBytes }) => Math.floor(size / rowBytes));
  const rows = opened.length < manifest.tensors.length ? 0 : Math.min(...whole);
  return {
    target,
    rows,
    tensors: new Map(
      manifest.tensors.map(({ name, dtype, rowShape }) => [name, { dtype, shape: [rows, ...rowShape] }]),
    ),
    metadata: manifest.metadata,
    async readRows(name, from, to, { signal } = {}) {
      const part = opened.find((p) => p.name === name);
      if (!part && !manifest.tensors.some((t) => t.name === name)) {
        throw new UsageError(expected("the name of a tensor", target, name), {
          code: "TENSOR_NOT_FOUND",
          hint: `It holds ${manifest.tensors.map((t) => t.name).join(", ")}.`,
        });
      }
      if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= rows)) {
        throw new UsageError(expected(`rows within [0, ${rows}]`, `readRows(${JSON.stringify(name)})`, [from, to]), {
          code: "INVALID_OPTION",
          hint: "Rows are whole numbers along the first dimension.",
        });
      }
      if (!part) return viewTypedArray(manifest.tensors.find((t) => t.name === name)!.dtype, new ArrayBuffer(0), 0, 0);
      const bytes = new Uint8Array((to - from) * part.rowBytes);
      if ((await readAt(part.handle, bytes, from * part.rowBytes, signal)) < bytes.length) {
        throw invalid(`${target}.partial`, "parts that were cut meanwhile");
      }
      return viewTypedArray(part.dtype, bytes.buffer, 0, bytes.length / dtypeSize(part.dtype));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function readManifest(path: string): Promise<z.output<typeof manifestSchema>> {
  const { handle, size } = await openRegularFile(path);
  let json: unknown;
  try {
    if (size > maxClaimBytes) throw invalid(path, `${size} bytes`);
    const bytes = new Uint8Array(size);
    json = parseStrictJson(bytes.subarray(0, await readAt(handle, bytes, 0)), path, { maxBytes: maxClaimBytes });
  } finally {
    await handle.close();
  }
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw invalid(path, `another: ${parsed.error.issues[0]!.path.join(".")} ${parsed.error.issues[0]!.message}`);
}

function invalid(path: string, received: string): InputError {
  return new InputError(expected("the manifest of a partial result", path, received), {
    code: "PARTIAL_INVALID",
    hint: "The file is damaged or of another version: start the run anew.",
  });
}
