import { expected, InputError } from "@krait/core";
import type { StreamInfo } from "./media-info.js";

/**
 * Which frames to keep.
 *
 * - `{ fps }`: for every instant start + k / fps, the first frame shown at or after it (each frame at most once).
 * - `{ count }`: the frame shown at the centre of each of `count` equal segments of the range; at most `count` frames.
 * - `"all"`: every frame.
 */
export type Sampling = { fps: number } | { count: number } | "all";

/** The frames kept, as cells of time: one frame per cell, the first at or after the cell's beginning. */
export interface SamplingGrid {
  /** Seconds; cell k begins at origin + k · step. */
  origin: number;
  step: number;
  cells: number;
}

/** Matroska rounds times to the millisecond: a frame this little before an instant counts as at it. Seconds. */
export const timeTolerance = 0.0006;

/** The grid of a sampling over [start, end) of a stream; undefined for `"all"`. Throws `InputError` DURATION_UNKNOWN. */
export function samplingGrid(
  sampling: Sampling,
  stream: StreamInfo,
  fileDuration: number | undefined,
  start: number,
  end: number,
): SamplingGrid | undefined {
  if (sampling === "all") return undefined;
  if ("fps" in sampling) {
    return { origin: start - timeTolerance, step: 1 / sampling.fps, cells: Number.POSITIVE_INFINITY };
  }
  const duration = stream.durationSeconds ?? fileDuration;
  const from = Math.max(start, stream.startSeconds, 0);
  const to = Math.min(end, duration === undefined ? Number.POSITIVE_INFINITY : stream.startSeconds + duration);
  if (to === Number.POSITIVE_INFINITY) {
    throw new InputError(expected("a known duration", `sampling by count in stream ${stream.index}`, undefined), {
      code: "DURATION_UNKNOWN",
      hint: "Give `end`, or sample by fps.",
    });
  }
  const step = Math.max(to - from, Number.EPSILON) / sampling.count;
  // The frame shown at c is the first one after c − its own duration.
  const frame = stream.averageFps === undefined ? 0 : 1 / stream.averageFps;
  return { origin: from + step / 2 - frame + timeTolerance, step, cells: sampling.count };
}

/** Decides frame by frame, in order of time. ffmpeg's filter already chose by the same rule, but forgets when a stream changes size. */
export class FrameSampler {
  #lastCell = -1;
  #lastTime = Number.NEGATIVE_INFINITY;

  constructor(private readonly grid: SamplingGrid | undefined) {}

  keeps(time: number): boolean {
    if (time <= this.#lastTime) return false;
    if (this.grid !== undefined) {
      const cell = Math.floor((time - this.grid.origin) / this.grid.step);
      if (cell <= this.#lastCell || cell >= this.grid.cells) return false;
      this.#lastCell = cell;
    }
    this.#lastTime = time;
    return true;
  }
}

/** The same rule as an expression for ffmpeg's `select`, so that dropped frames are never scaled nor sent. */
export function selectExpression(grid: SamplingGrid | undefined): string {
  if (grid === undefined) return "isnan(prev_selected_t)+gt(t,prev_selected_t)";
  const cell = (t: string) => `floor((${t}-(${grid.origin}))/${grid.step})`;
  return `gte(${cell("t")},0)*if(isnan(prev_selected_t),1,gt(${cell("t")},${cell("prev_selected_t")}))`;
}
