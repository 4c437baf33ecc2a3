import { expected, InputError } from "@krait/core";
import type { StreamInfo } from "./media-info.js";

/**
 * Which frames to keep.
 *
 * - `{ fps }`: for every instant start + k / fps, the first frame shown at or after it (each frame at most once).
 * - `{ count }`: the frame shown at the centre of each of `count` equal segments of the range; at most `count` frames.
 * - `{ times }`: the frame shown at each of these times, in seconds on the container's timeline; two times of one frame give it once. Where
 *   frames do not come at an even rate: the first one after the time less the average duration of a frame.
 * - `"key"`: the key frames; nothing between them is decoded.
 * - `"all"`: every frame.
 */
export type Sampling = { fps: number } | { count: number } | { times: number[] } | "key" | "all";

/** The frames kept, as cells of time: one frame per cell, the first at or after the cell's beginning. */
export interface SamplingGrid {
  /** Seconds: where the first cell begins, and from when on no frame is kept. */
  readonly from: number;
  readonly until: number;
  /** Seconds between two frames kept, on average. */
  readonly step: number;
  readonly cells: number;
  /** The cell of a time; below 0 before the first. */
  cell(time: number): number;
  /** Whether the frame at `t` is kept, as an expression for ffmpeg's `select`. */
  readonly expression: string;
}

/** Matroska rounds times to the millisecond: a frame this little before an instant counts as at it. Seconds. */
export const timeTolerance = 0.0006;
/** How long after the last of the times asked for its frame may come. Seconds. */
const lastTimeSlack = 60;

/** The grid of a sampling over [start, end) of a stream; undefined where every decoded frame is kept. Throws `InputError` DURATION_UNKNOWN. */
export function samplingGrid(
  sampling: Sampling,
  stream: StreamInfo,
  fileDuration: number | undefined,
  start: number,
  end: number,
): SamplingGrid | undefined {
  if (sampling === "all" || sampling === "key") return undefined;
  if ("fps" in sampling) return evenGrid(start - timeTolerance, 1 / sampling.fps, Number.POSITIVE_INFINITY);
  // The frame shown at c is the first one after c − its own duration.
  const frame = stream.averageFps === undefined ? 0 : 1 / stream.averageFps;
  if ("times" in sampling) {
    const wanted = sampling.times.filter((time) => time >= start && time < end).sort((a, b) => a - b);
    return timesGrid(wanted.map((time) => time - frame + timeTolerance));
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
  return evenGrid(from + step / 2 - frame + timeTolerance, step, sampling.count);
}

function evenGrid(origin: number, step: number, cells: number): SamplingGrid {
  const cell = (t: string) => `floor((${t}-(${origin}))/${step})`;
  return {
    from: origin,
    until: origin + cells * step,
    step,
    cells,
    cell: (time) => Math.floor((time - origin) / step),
    expression: `gte(${cell("t")},0)*if(isnan(prev_selected_t),1,gt(${cell("t")},${cell("prev_selected_t")}))`,
  };
}

/** @param begins of the cells, rising */
function timesGrid(begins: readonly number[]): SamplingGrid {
  const first = begins[0] ?? Number.POSITIVE_INFINITY;
  const last = begins.at(-1) ?? 0;
  return {
    from: first,
    until: begins.length === 0 ? 0 : last + lastTimeSlack,
    step: begins.length < 2 ? 1 : (last - first) / (begins.length - 1) || 1,
    cells: begins.length,
    cell(time) {
      let low = 0;
      let high = begins.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (begins[middle]! <= time) low = middle + 1;
        else high = middle;
      }
      return low - 1;
    },
    // The number of cells that have begun is compared with that at the frame kept last, which register 1 holds.
    expression: `st(0,${begunCells(begins, 0, begins.length)});if(gt(ld(0),ld(1)),st(1,ld(0)),0)`,
  };
}

/** How many cells have begun at `t`, as a search by halves: a sum of comparisons would nest too deep for ffmpeg. */
function begunCells(begins: readonly number[], low: number, high: number): string {
  if (low === high) return String(low);
  const middle = (low + high) >>> 1;
  const [before, after] = [begunCells(begins, low, middle), begunCells(begins, middle + 1, high)];
  return `if(lt(t,${begins[middle]!.toFixed(6)}),${before},${after})`;
}

/** Decides frame by frame, in order of time. ffmpeg's filter already chose by the same rule, but forgets when a stream changes size. */
export class FrameSampler {
  #lastCell = -1;
  #lastTime = Number.NEGATIVE_INFINITY;

  constructor(private readonly grid: SamplingGrid | undefined) {}

  /** Whether no later frame can be kept. */
  get done(): boolean {
    return this.grid !== undefined && this.#lastCell + 1 >= this.grid.cells;
  }

  keeps(time: number): boolean {
    if (time <= this.#lastTime) return false;
    if (this.grid !== undefined) {
      const cell = this.grid.cell(time);
      if (cell <= this.#lastCell || cell >= this.grid.cells) return false;
      this.#lastCell = cell;
    }
    this.#lastTime = time;
    return true;
  }
}

/** The same rule as an expression for ffmpeg's `select`, so that dropped frames are never scaled nor sent. */
export function selectExpression(grid: SamplingGrid | undefined): string {
  return grid?.expression ?? "isnan(prev_selected_t)+gt(t,prev_selected_t)";
}
