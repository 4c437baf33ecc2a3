import { createNpyWriter, createSafetensorsWriter, type RowWriter, type RowWriterOptions } from "@krait/formats";

/** Whether a result of this name is written as npy files; anything else is safetensors. */
export function isNpy(path: string): boolean {
  return /\.npy$/i.test(path);
}

/** A file of rows in the format that its name asks for. Throws what `createSafetensorsWriter` and `createNpyWriter` throw. */
export function createRowFile<N extends string>(path: string, options: RowWriterOptions<N>): Promise<RowWriter<N>> {
  return isNpy(path) ? createNpyWriter(path, options) : createSafetensorsWriter(path, options);
}
