import { AbortedError, expected, parseOptions, throwIfAborted, UsageError } from "@krait/core";
import { z } from "zod";
import { Lane } from "./lane.js";
import type { RunPart, SeparatorPart, SourceModality, TokenBlock, TokenSource } from "./types.js";
import { lowerBound, upperBound, windowOf } from "./windows.js";

export const interleaveOptionsSchema = z.strictObject({
  /** Seconds of one window. */
  windowSeconds: z.number().min(1e-3).max(1e6).default(2),
  separators: z.boolean().default(true),
  /** Of the pictures in a window: picture by picture, or place by place, each through time. */
  order: z.enum(["spatial", "temporal"]).default("spatial"),
  /** Tokens that one source may put into one window: the bound on what is held at a time. */
  maxWindowTokens: z
    .number()
    .int()
    .positive()
    .default(2 ** 22),
  signal: z.instanceof(AbortSignal).optional(),
});

export type InterleaveOptions = z.input<typeof interleaveOptionsSchema>;

export type PayloadOf<S> = S extends TokenSource<infer P> ? P : never;

/**
 * Merges token sources into the one flat sequence, in parts, without holding more than one window of any source.
 *
 * Time is cut into windows [k·w, (k+1)·w) anchored at 0; a token belongs to the window that contains its start. A window
 * holds one run per modality, modalities in the order in which the sources first name them; inside a run tokens are in time
 * order, and sources of one modality are merged by start (equal starts: the earlier source first). With `order: "temporal"` a run
 * of video goes place by place instead, row by row, each place through the window's time. Windows without tokens do not appear. Text without times stands before all windows with times [0, 0] when its source comes before the first
 * timed source, else after all windows with times [end, end], where `end` is the greatest end of any timed token in seconds.
 *
 * Separators stand *between* consecutive pieces, where a piece is a window or an untimed text, never first or last; a
 * separator's time is the border: k·w before a window, 0 before an untimed text at the front, `end` before one at the back.
 *
 * All sources are read at the same time up to the window's border, so that sources fed by one decoder cannot starve each
 * other; nothing is read while the consumer holds back. The sequence of tokens depends on the tokens alone, not on how a
 * source cuts them into blocks nor on when its promises settle. Leaving early calls `return()` of every source.
 *
 * Throws `UsageError` (INVALID_OPTION, MODALITY_MISMATCH, BLOCK_SHAPE), `InputError` (TIMES_FALL, TIMES_REVERSED,
 * TIMES_OUT_OF_RANGE, WINDOW_TOO_DENSE), `AbortedError`, and whatever a source throws.
 */
export function interleave<S extends TokenSource>(
  sources: readonly S[],
  options: InterleaveOptions = {},
): AsyncGenerator<RunPart<PayloadOf<S>> | SeparatorPart, void, undefined> {
  const parsed = parseOptions(interleaveOptionsSchema, options, "interleave()");
  if (new Set(sources).size !== sources.length) {
    throw new UsageError(expected("different sources", "interleave()", "the same one twice"), {
      code: "INVALID_OPTION",
      hint: "An iterable can be read once; make a second source.",
    });
  }
  return merge(sources, parsed) as AsyncGenerator<RunPart<PayloadOf<S>> | SeparatorPart, void, undefined>;
}

async function* merge(
  sources: readonly TokenSource[],
  { windowSeconds, separators, order, maxWindowTokens, signal }: z.output<typeof interleaveOptionsSchema>,
): AsyncGenerator<RunPart | SeparatorPart, void, undefined> {
  const lanes = sources.map((source, index) => new Lane(source, index, maxWindowTokens));
  const timed = lanes.filter((lane) => lane.timed);
  const firstTimed = timed[0]?.index ?? lanes.length;
  const groups = new Map<SourceModality, Lane[]>();
  for (const lane of timed) groups.set(lane.modality, [...(groups.get(lane.modality) ?? []), lane]);
  const wait = <T>(work: Promise<T>): Promise<T> => abortable(work, signal);

  let started = false;
  function* border(time: number): Generator<RunPart | SeparatorPart> {
    if (started && separators) yield { modality: 255, time };
    started = true;
  }
  async function* untimed(lane: Lane, time: number): AsyncGenerator<RunPart | SeparatorPart> {
    let block = await wait(lane.pull());
    if (block !== undefined) yield* border(time);
    while (block !== undefined) {
      yield { modality: lane.modality, source: lane.index, block: stamp(block, time), from: 0, to: block.count };
      block = await wait(lane.pull());
    }
  }

  try {
    throwIfAborted(signal, "the sequence");
    for (const lane of lanes) if (!lane.timed && lane.index < firstTimed) yield* untimed(lane, 0);

    await wait(Promise.all(timed.map((lane) => lane.fill(Number.NEGATIVE_INFINITY))));
    for (;;) {
      const next = Math.min(...timed.map((lane) => lane.head), Number.POSITIVE_INFINITY);
      if (next === Number.POSITIVE_INFINITY) break;
      const window = windowOf(next, windowSeconds);
      const upper = (window + 1) * windowSeconds;
      await wait(Promise.all(timed.map((lane) => lane.fill(upper))));
      yield* border(window * windowSeconds);
      for (const [modality, group] of groups) {
        const run = drain(group, upper);
        for (const part of order === "temporal" && modality === 2 ? byPlace(run) : run) {
          yield part;
          throwIfAborted(signal, "the sequence");
        }
      }
    }

    const ends = timed.map((lane) => lane.maxEnd).filter(Number.isFinite);
    const end = ends.length > 0 ? Math.max(...ends) : 0;
    for (const lane of lanes) if (!lane.timed && lane.index > firstTimed) yield* untimed(lane, end);
  } finally {
    await Promise.all(lanes.map((lane) => lane.close()));
  }
}

/** The tokens of one modality before `upper`, merged by start. */
function* drain(group: readonly Lane[], upper: number): Generator<RunPart> {
  for (;;) {
    let first: Lane | undefined;
    for (const lane of group) if (lane.head < (first?.head ?? upper)) first = lane;
    if (first === undefined) return;
    const chosen = first;
    const part = chosen.take((starts, from, to) => {
      let stop = lowerBound(starts, from, to, upper);
      for (const other of group) {
        if (other === chosen) continue;
        // On equal starts the earlier source goes first.
        const bound = other.index < chosen.index ? lowerBound : upperBound;
        stop = bound(starts, from, stop, other.head);
      }
      return stop;
    });
    yield { modality: chosen.modality, source: chosen.index, ...part };
  }
}

/** The tokens of a run by row, then column, then as they came. */
function byPlace(run: Iterable<RunPart>): RunPart[] {
  const tokens: { place: number; part: RunPart }[] = [];
  for (const part of run) {
    const { row, column } = part.block;
    for (let i = part.from; i < part.to; i++)
      tokens.push({ place: row[i]! * 65536 + column[i]!, part: { ...part, from: i, to: i + 1 } });
  }
  // Sorting is stable.
  return tokens.sort((a, b) => a.place - b.place).map(({ part }) => part);
}

function stamp(block: TokenBlock, time: number): TokenBlock {
  const times = new Float64Array(block.count).fill(time);
  return { ...block, start: times, end: times };
}

/** Waits for `work`, or for the signal. The listener goes with each wait, so that a long run gathers none. */
function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(new AbortedError("the sequence", signal.reason));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    const release = () => signal.removeEventListener("abort", onAbort);
    work.then(
      (value) => {
        release();
        resolve(value);
      },
      (error) => {
        release();
        reject(error);
      },
    );
  });
}
