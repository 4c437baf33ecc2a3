import { expected, parseOptions, UsageError } from "@krait/core";
import { z } from "zod";
import type { PixelValues } from "./processor.js";

const schema = z.strictObject({
  /** Pixels of a patch's side. */
  patch: z.number().int().min(1).max(256).default(14),
  /** Patches of a block's side: a block's patches follow each other. */
  merge: z.number().int().min(1).max(16).default(2),
});
export type MergedPatchOptions = z.input<typeof schema>;

/** `values` [tokens, 3 · frames · patch²]: columns in the order channel, frame, y, x; row and column count patches. */
export interface MergedPatches {
  readonly values: Float32Array;
  readonly count: number;
  readonly row: Uint16Array;
  readonly column: Uint16Array;
}

/**
 * Patches of some frames of one size, joined along time, in Qwen2-VL's order: blocks of merge × merge patches row by row, and within a
 * block row by row. A still image is its frame twice there (transformers, Qwen2VLImageProcessor: reshape to [t, frames, C, h / merge,
 * merge, patch, w / merge, merge, patch], transpose 0 3 6 4 7 2 1 5 8).
 *
 * Throws `UsageError` (INVALID_OPTION, FRAME_SIZE_MISMATCH: sides that are no multiple of patch · merge, or differ).
 */
export function mergedPatches(frames: readonly PixelValues[], given: MergedPatchOptions = {}): MergedPatches {
  const { patch, merge } = parseOptions(schema, given, "mergedPatches()");
  const { width, height } = parseOptions(z.array(z.custom<PixelValues>()).min(1), frames, "mergedPatches() frames")[0]!;
  const block = patch * merge;
  const odd = frames.find((f) => f.width !== width || f.height !== height) ?? { width, height };
  if (odd.width !== width || odd.height !== height || width % block !== 0 || height % block !== 0) {
    throw new UsageError(
      expected(`frames of one size in multiples of ${block}`, "mergedPatches()", `${odd.width} × ${odd.height}`),
      { code: "FRAME_SIZE_MISMATCH", hint: 'Resize with fit "budget" and the same factor.' },
    );
  }
  const columns = width / patch;
  const count = columns * (height / patch);
  const dim = 3 * frames.length * patch * patch;
  const values = new Float32Array(count * dim);
  const row = new Uint16Array(count);
  const column = new Uint16Array(count);
  for (let token = 0; token < count; token++) {
    const inBlock = token % (merge * merge);
    const blockAt = (token - inBlock) / (merge * merge);
    const blocks = columns / merge;
    row[token] = Math.floor(blockAt / blocks) * merge + Math.floor(inBlock / merge);
    column[token] = (blockAt % blocks) * merge + (inBlock % merge);
    let to = token * dim;
    for (let channel = 0; channel < 3; channel++) {
      for (const frame of frames) {
        for (let y = 0; y < patch; y++, to += patch) {
          const from = (channel * height + row[token]! * patch + y) * width + column[token]! * patch;
          values.set(frame.values.subarray(from, from + patch), to);
        }
      }
    }
  }
  return { values, count, row, column };
}
