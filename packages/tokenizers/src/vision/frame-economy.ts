import { parseOptions } from "@krait/core";
import { z } from "zod";
import { pull } from "../pull.js";
import type { VideoFrame } from "../video/index.js";
import { differenceOf, signatureOf } from "./signature.js";

const schema = z.strictObject({
  /** Mean difference of two signatures, in steps of a byte, up to which a frame counts as the one kept before. 0 keeps all that differ. */
  sameBelow: z.number().min(0).max(255).default(2),
  /** Seconds after which a frame is kept in any case. */
  maxSeconds: z.number().positive().max(86400).default(10),
  /** Frames kept per second at most, over any longer time; what is beyond counts as the one kept before. */
  budget: z.number().positive().max(1000).optional(),
  /** `drop` keeps the first of a run of frames, `merge` their mean. */
  mode: z.enum(["drop", "merge"]).default("drop"),
  /** Mean difference from the frame before, in steps of a byte, from which a change counts as a cut; it must also stand out. */
  cutFrom: z.number().positive().max(255).default(20),
  signal: z.instanceof(AbortSignal).optional(),
});
export type FrameEconomyOptions = Omit<z.input<typeof schema>, "signal"> & { signal?: AbortSignal | undefined };

/** A frame that stands for `frames` of them, from the first one's start to the last one's end. */
export interface EconomicFrame extends VideoFrame {
  readonly frames: number;
  /** Counts the cuts before it. */
  readonly scene: number;
}

/** A cut must be so many times the median of so many differences before it. */
const history = 8;
const prominence = 3;

/**
 * Fewer frames of long video: runs of near-duplicates become one frame each, whose times are exactly those of the run. A frame is held
 * against the one kept last, so that slow change is not lost; every cut begins a run. Holds one frame.
 *
 * Throws `UsageError` (INVALID_OPTION) and `AbortedError`.
 */
export async function* economizeFrames(
  frames: AsyncIterable<VideoFrame>,
  given: FrameEconomyOptions = {},
): AsyncGenerator<EconomicFrame, void, undefined> {
  const options = parseOptions(schema, given, "economizeFrames()");
  const cuts = new CutDetector(options.cutFrom);
  let run: Run | undefined;
  let credit = 1;
  for await (const frame of pull(frames, options.signal, "the frame economy")) {
    const signature = signatureOf(frame);
    const cut = cuts.isCut(signature);
    if (run) {
      credit = Math.min(1, credit + (frame.start - run.lastStart) * (options.budget ?? Number.POSITIVE_INFINITY));
      const same = differenceOf(signature, run.signature) <= options.sameBelow;
      const due = frame.start - run.first.start >= options.maxSeconds;
      // Sums of many small credits may fall short by their rounding.
      if (run.fits(frame) && ((same && !due && !cut) || credit < 1 - 1e-9)) {
        run.add(frame);
        continue;
      }
      yield run.take();
    }
    credit -= 1;
    run = new Run(frame, signature, cuts.scene, options.mode === "merge");
    if (options.budget === undefined) credit = 1;
  }
  if (run) yield run.take();
}

/** Finds scene cuts from frame to frame. */
export class CutDetector {
  /** Cuts so far. */
  scene = 0;
  private before: Uint8Array | undefined;
  private readonly recent: number[] = [];

  /** @param cutFrom mean difference in steps of a byte */
  constructor(private readonly cutFrom = 20) {}

  /** Whether a cut lies before the frame with this signature. */
  isCut(signature: Uint8Array): boolean {
    const difference = this.before ? differenceOf(signature, this.before) : 0;
    const usual = [...this.recent].sort((a, b) => a - b)[this.recent.length >> 1] ?? 0;
    const cut = difference >= this.cutFrom && difference >= prominence * usual;
    this.before = signature;
    this.recent.push(difference);
    if (this.recent.length > history) this.recent.shift();
    if (cut) this.scene++;
    return cut;
  }
}

/** Frames that become one. */
class Run {
  lastStart: number;
  private end: number;
  private frames = 1;
  private readonly sums: Float32Array | undefined;

  constructor(
    readonly first: VideoFrame,
    readonly signature: Uint8Array,
    private readonly scene: number,
    merge: boolean,
  ) {
    this.lastStart = first.start;
    this.end = first.end;
    if (merge) this.sums = Float32Array.from(first.pixels);
  }

  fits({ width, height }: VideoFrame): boolean {
    return width === this.first.width && height === this.first.height;
  }

  add({ pixels, start, end }: VideoFrame): void {
    this.frames++;
    this.lastStart = start;
    this.end = end;
    const { sums } = this;
    if (sums) for (let i = 0; i < sums.length; i++) sums[i] = sums[i]! + pixels[i]!;
  }

  take(): EconomicFrame {
    const { first, end, frames, scene, sums } = this;
    const pixels = sums && frames > 1 ? Uint8Array.from(sums, (sum) => Math.round(sum / frames)) : first.pixels;
    return { pixels, width: first.width, height: first.height, start: first.start, end, frames, scene };
  }
}
