import { type FileHandle, rm } from "node:fs/promises";
import { type DType, type TypedArray, throwIfAborted } from "@krait/core";
import { writeAt, writeAtomically } from "../files.js";
import { elementBytes } from "./elements.js";
import { checkTensorName, layOut, product } from "./layout.js";

export interface TensorToWrite {
  dtype: DType;
  shape: readonly number[];
  /** Row-major elements; bf16 and f16 as raw 16-bit patterns. */
  data: TypedArray;
}

export interface WriteSafetensorsOptions {
  signal?: AbortSignal;
  /** The name to write under at first (default: one of its own beside `path`); what is there goes. */
  temporary?: string;
}

/**
 * Writes whole tensors to `path`, which holds either its old content or all of the new, never a part.
 *
 * Throws `UsageError` (INVALID_OPTION, NOT_A_FILE), `EnvironmentError` (DISK_FULL, OUTPUT_NOT_WRITABLE,
 * OUTPUT_FOLDER_MISSING), `AbortedError`.
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorToWrite>> | ReadonlyMap<string, TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
  { signal, temporary }: WriteSafetensorsOptions = {},
): Promise<void> {
  const byName = new Map<string, TensorToWrite>(tensors instanceof Map ? tensors : Object.entries(tensors));
  const bytes = new Map<string, Uint8Array>();
  for (const [name, tensor] of byName) {
    checkTensorName(name);
    bytes.set(name, elementBytes(name, tensor.dtype, tensor.data, product({ name, shape: tensor.shape })));
  }
  const plan = [...byName].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const layout = layOut(plan, metadata);
  throwIfAborted(signal, "the write");
  if (temporary !== undefined) await rm(temporary, { force: true });
  const write = async (handle: FileHandle) => {
    await writeAt(handle, layout.header, 0, signal);
    let position = layout.header.length;
    for (const { name, byteLength } of layout.tensors) {
      await writeAt(handle, bytes.get(name)!, position, signal);
      position += byteLength;
    }
  };
  await writeAtomically(path, write, temporary);
}
