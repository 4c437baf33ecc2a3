import { dtypeSize, parseOptions } from "@krait/core";
import { writeAt, writeAtomically } from "../files.js";
import { copyPart, createRowWriter, type RowWriter, type RowWriterOptions } from "../rows/row-writer.js";
import { invalidOption } from "../safetensors/layout.js";
import { rowsSchema } from "../safetensors/stream-writer.js";
import { hasNpyCode, npyHeader } from "./header.js";

/** Where a tensor other than the first goes: `talk.npy` and `times` → `talk.times.npy`. */
export function npyBeside(path: string, name: string): string {
  return `${path.replace(/\.npy$/i, "")}.${name}.npy`;
}

/**
 * Starts npy files of rows, as `createSafetensorsWriter` does: the first tensor becomes `path`, every other one a file beside it
 * (`npyBeside`). Each appears whole or not at all, `path` last. An npy file has no place for metadata: it stays in the manifest until the end.
 *
 * Throws what `createSafetensorsWriter` throws, and `UsageError` (INVALID_OPTION) for bf16 and f16, which NumPy does not name.
 */
export async function createNpyWriter<N extends string>(
  path: string,
  options: RowWriterOptions<N>,
): Promise<RowWriter<N>> {
  const parsed = parseOptions(rowsSchema, options, "createNpyWriter()");
  for (const [name, { dtype }] of Object.entries(parsed.tensors))
    if (!hasNpyCode(dtype)) throw invalidOption(`a dtype that NumPy has for ${name}`, dtype);
  return createRowWriter<N>(path, parsed as RowWriterOptions<N>, async (rows, parts, _, signal) => {
    for (const [i, { name, dtype, rowShape, rowElements, handle }] of [...parts.entries()].reverse()) {
      if (!hasNpyCode(dtype)) continue;
      const header = npyHeader(dtype, [rows, ...rowShape]);
      await writeAtomically(
        i === 0 ? path : npyBeside(path, name),
        async (target) => {
          await writeAt(target, header, 0, signal);
          await copyPart(handle, target, header.length, rows * rowElements * dtypeSize(dtype), signal);
        },
        `${path}.partial.whole`,
      );
    }
  });
}
