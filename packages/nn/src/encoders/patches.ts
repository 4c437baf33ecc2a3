import { clipElements, type EncoderDescription } from "../families/encoder-family.js";

/** Where each token of one clip comes from. */
export interface TokenOrder {
  /** Per token of the sequence: 0 for the class token, 1 + i for patch i of the clip. */
  sources: Int32Array;
  /** Per token of the sequence, its row of the positions. */
  positions: Int32Array;
  /** Place of the class token. */
  classAt: number;
}

export function tokenOrder(description: EncoderDescription): TokenOrder {
  const { grid, order, classPosition, positionsBy } = description;
  const perFrame = grid.rows * grid.columns;
  const patches: number[] = [];
  for (let f = 0; f < grid.frames; f++) {
    for (let i = 0; i < perFrame; i++) {
      const inFrame = order === "columns" ? i : (i % grid.rows) * grid.columns + Math.floor(i / grid.rows);
      patches.push(f * perFrame + inFrame);
    }
  }
  const classAt = { first: 0, middle: Math.floor(patches.length / 2), last: patches.length }[classPosition];
  const sources = Int32Array.from([
    ...patches.slice(0, classAt).map((p) => 1 + p),
    0,
    ...patches.slice(classAt).map((p) => 1 + p),
  ]);
  const positions = sources.map((source, i) =>
    positionsBy === "token" ? i : source === 0 ? 0 : 1 + ((source - 1) % perFrame),
  );
  return { sources, positions, classAt };
}

/** Rows [patches, channels · patch] of one clip; their columns run over channel, frame, row and column. */
export function unfoldClip(description: EncoderDescription, values: Float32Array, into: Float32Array): void {
  const { layout, channels, input, patch, stride, grid } = description;
  const [frame, channel, row, column] =
    layout === "frames"
      ? [channels * input.rows * input.columns, input.rows * input.columns, input.columns, 1]
      : [clipElements(description), 0, 1, input.rows];
  let to = 0;
  for (let f = 0; f < grid.frames; f++) {
    for (let r = 0; r < grid.rows; r++) {
      for (let c = 0; c < grid.columns; c++) {
        const corner = f * stride.frames * frame + r * stride.rows * row + c * stride.columns * column;
        for (let k = 0; k < channels; k++) {
          for (let t = 0; t < patch.frames; t++) {
            for (let y = 0; y < patch.rows; y++) {
              const line = corner + k * channel + t * frame + y * row;
              for (let x = 0; x < patch.columns; x++) into[to++] = values[line + x * column]!;
            }
          }
        }
      }
    }
  }
}
