import type { FileHandle } from "node:fs/promises";
import { dtypes, parseOptions } from "@krait/core";
import { z } from "zod";
import { writeAt, writeAtomically } from "../files.js";
import { copyPart, createRowWriter, type RowWriter, type RowWriterOptions } from "../rows/row-writer.js";
import { layOut } from "./layout.js";

/** @internal */
export const rowsSchema = z.strictObject({
  tensors: z.record(
    z.string(),
    z.strictObject({ dtype: z.enum(dtypes), rowShape: z.array(z.number().int().nonnegative()) }),
  ),
  metadata: z.record(z.string(), z.string()).default({}),
  resumeRows: z.number().int().nonnegative().optional(),
  keepOnError: z.boolean().optional(),
});

/**
 * Starts a safetensors file of rows. Until `finish` everything lies beside `path`: the claim and manifest `path.partial` and one
 * `path.partial.<n>` per tensor; `finish` joins them into `path.partial.whole`, flushes it and renames it to `path`. An error in
 * `append` or `finish` (a full disk, say) deletes the parts unless `keepOnError`. Parts of a process that died are taken over.
 *
 * Throws `UsageError` (INVALID_OPTION, NOT_A_FILE, OUTPUT_BUSY, WRITER_BUSY, CLOSED), `EnvironmentError` (DISK_FULL,
 * OUTPUT_NOT_WRITABLE, OUTPUT_FOLDER_MISSING), `InputError` (PARTIAL_INVALID, of parts to resume), `AbortedError`.
 */
export async function createSafetensorsWriter<N extends string>(
  path: string,
  options: RowWriterOptions<N>,
): Promise<RowWriter<N>> {
  const parsed = parseOptions(rowsSchema, options, "createSafetensorsWriter()");
  return createRowWriter<N>(path, parsed as RowWriterOptions<N>, async (rows, parts, metadata, signal) => {
    const plan = parts.map(({ name, dtype, rowShape }) => ({ name, dtype, shape: [rows, ...rowShape] }));
    const layout = layOut(plan, metadata);
    const write = async (target: FileHandle) => {
      await writeAt(target, layout.header, 0, signal);
      let position = layout.header.length;
      for (const { name, byteLength } of layout.tensors) {
        const part = parts.find((candidate) => candidate.name === name)!;
        await copyPart(part.handle, target, position, byteLength, signal);
        position += byteLength;
      }
    };
    await writeAtomically(path, write, `${path}.partial.whole`);
  });
}
