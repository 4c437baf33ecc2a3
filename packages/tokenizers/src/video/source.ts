import { expected, InputError, parseOptions, UsageError } from "@krait/core";
import type { AudioPart } from "@krait/media";
import { z } from "zod";
import { pull } from "../pull.js";
import { type TokenBlock, type TokenSource, tokenSource } from "../sequence/index.js";

/** One frame as `decode` gives it: RGB24, row by row from the top left; times in seconds. */
export interface VideoFrame {
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly start: number;
  readonly end: number;
}

/** One tubelet: `frames` is [tubelet, height, width, 3], what `unfoldPatches` takes. */
export interface VideoPayload {
  readonly frames: Uint8Array;
}

const side = z.number().int().positive().max(8192);
const gridSchema = z.strictObject({
  tubelet: z.number().int().min(1).max(16).default(2),
  patch: z.number().int().min(1).max(256).default(16),
  width: side.default(224),
  height: side.default(224),
});
const sourceSchema = z.strictObject({
  ...gridSchema.shape,
  parts: z.custom<AsyncIterable<object>>(
    (value) => typeof (value as AsyncIterable<object> | undefined)?.[Symbol.asyncIterator] === "function",
    "an async iterable",
  ),
  signal: z.instanceof(AbortSignal).optional(),
});

/** Frames per tubelet (default 2), and pixels: a patch's side (16) and the frames' (224 × 224), which are whole patches. */
export type VideoGrid = { [K in keyof z.input<typeof gridSchema>]?: number | undefined };

export interface VideoTokenOptions extends VideoGrid {
  /** Frames of the declared size with starts that never fall, as `decode` gives them; or one still image. Read once. */
  parts: AsyncIterable<VideoFrame | AudioPart>;
  signal?: AbortSignal | undefined;
}

/**
 * Video as a source of the flat sequence: each `tubelet` consecutive frames are one block of (height / patch) · (width / patch) tokens,
 * row by row, blocks in the order of time. All tokens of a block share the first frame's start and the last frame's end. The last
 * frame is repeated to fill a tubelet that the video leaves short, so a still image is one tubelet.
 *
 * A published tubelet embedding, a Conv3d weight [D, 3, tubelet, patch, patch], projects the rows of `unfoldPatches` as it lies in
 * memory, seen as [D, 3 · tubelet · patch²].
 *
 * The iteration throws `UsageError` (FRAME_SIZE_MISMATCH, MODALITY_MISMATCH), `InputError` (TIMES_INVALID, TIMES_FALL, TIMES_REVERSED) and
 * `AbortedError`; the call itself `UsageError` (INVALID_OPTION).
 */
export function videoTokenSource(options: VideoTokenOptions): TokenSource<VideoPayload> {
  const parsed = parseOptions(sourceSchema, options, "videoTokenSource()");
  checkGrid(parsed, "videoTokenSource()");
  return tokenSource({ modality: 2, timed: true }, videoBlocks(parsed));
}

/** How many tokens `videoTokenSource` makes of so many frames. Throws `UsageError` (INVALID_OPTION). */
export function predictVideoTokens(frames: number, options: VideoGrid = {}): number {
  const grid = parseOptions(gridSchema, options, "predictVideoTokens()");
  checkGrid(grid, "predictVideoTokens()");
  if (!(Number.isSafeInteger(frames) && frames >= 0)) {
    throw new UsageError(expected("a number of frames", "predictVideoTokens()", frames), {
      code: "INVALID_OPTION",
      hint: "Duration times the sampling rate, for media with a known duration.",
    });
  }
  return Math.ceil(frames / grid.tubelet) * tokensPerTubelet(grid);
}

type Grid = z.output<typeof gridSchema>;

function tokensPerTubelet({ patch, width, height }: Grid): number {
  return (height / patch) * (width / patch);
}

function checkGrid(grid: Grid, name: string): void {
  for (const side of ["width", "height"] as const) {
    if (grid[side] % grid.patch === 0) continue;
    throw new UsageError(expected(`a multiple of patch ${grid.patch}`, `${name} ${side}`, grid[side]), {
      code: "INVALID_OPTION",
      hint: "Frames are cut into whole patches.",
    });
  }
}

async function* videoBlocks({
  parts,
  signal,
  ...grid
}: z.output<typeof sourceSchema>): AsyncGenerator<TokenBlock<VideoPayload>> {
  const { tubelet, width, height } = grid;
  const frameBytes = width * height * 3;
  const { row, column } = places(grid);
  let frames = new Uint8Array(0);
  let filled = 0;
  let start = 0;
  let end = 0;
  let lastStart = Number.NEGATIVE_INFINITY;
  const take = (): TokenBlock<VideoPayload> => {
    const block = {
      modality: 2 as const,
      count: row.length,
      start: new Float64Array(row.length).fill(start),
      end: new Float64Array(row.length).fill(end),
      row: row.slice(),
      column: column.slice(),
      payload: { frames },
    };
    filled = 0;
    return block;
  };
  for await (const part of pull(parts, signal, "the video source")) {
    const frame = checkFrame(part, grid);
    checkTimes(frame, lastStart);
    lastStart = frame.start;
    if (filled === 0) {
      frames = new Uint8Array(tubelet * frameBytes);
      start = frame.start;
    }
    frames.set(frame.pixels, filled * frameBytes);
    filled++;
    end = frame.end;
    if (filled === tubelet) yield take();
  }
  if (filled === 0) return;
  const last = frames.subarray((filled - 1) * frameBytes, filled * frameBytes);
  for (; filled < tubelet; filled++) frames.set(last, filled * frameBytes);
  yield take();
}

/** Row and column of each token of a tubelet. */
function places(grid: Grid): { row: Uint16Array; column: Uint16Array } {
  const columns = grid.width / grid.patch;
  const count = tokensPerTubelet(grid);
  return {
    row: Uint16Array.from({ length: count }, (_, i) => Math.floor(i / columns)),
    column: Uint16Array.from({ length: count }, (_, i) => i % columns),
  };
}

function checkFrame(part: object, { width, height }: Grid): VideoFrame {
  const frame = part as VideoFrame;
  if (!(frame.pixels instanceof Uint8Array)) {
    throw new UsageError(expected("parts with pixels", "videoTokenSource()", frame.pixels), {
      code: "MODALITY_MISMATCH",
      hint: "Decode video alone for it, or hand it the video parts only.",
    });
  }
  const { pixels } = frame;
  if (frame.width === width && frame.height === height && pixels.length === width * height * 3) return frame;
  const received = `${frame.width} × ${frame.height} in ${pixels.length} bytes`;
  throw new UsageError(
    `Expected ${width} × ${height} RGB24 in ${width * height * 3} bytes for a frame at ${frame.start} s but received ${received}`,
    { code: "FRAME_SIZE_MISMATCH", hint: `Decode with width ${width} and height ${height}.` },
  );
}

function checkTimes({ start, end }: VideoFrame, lastStart: number): void {
  const fail = (code: string, what: string, received: number): never => {
    throw new InputError(expected(what, "a video frame", received), {
      code,
      hint: "The time stamps of the input are damaged; remux it (ffmpeg -i in -c copy out) and try again.",
    });
  };
  if (!Number.isFinite(start)) fail("TIMES_INVALID", "a finite start time", start);
  if (!Number.isFinite(end)) fail("TIMES_INVALID", "a finite end time", end);
  if (start < lastStart) fail("TIMES_FALL", `a start time of at least ${lastStart} s`, start);
  if (end < start) fail("TIMES_REVERSED", `an end time of at least ${start} s`, end);
}
