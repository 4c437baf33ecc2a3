import type { AudioPart, MediaPart, VideoPart } from "./media-part.js";

/**
 * A frame waits this long for its successor, and no more audio than this is held for it. Seconds.
 * The rule is in media time, so the ends do not depend on how fast anything ran.
 */
export const maxFrameSeconds = 60;

/** Packets arrive in order of their times but for this much: jitter, and the length of an audio packet. Seconds. */
export const slackSeconds = 0.15;

/** The last millisecond of a track that ends early leaves its resampler only at the end of the file. Seconds. */
const tailSeconds = 0.02;
const lateSeconds = 1;

/**
 * Gives every frame its end, the next kept frame's start, by holding one frame back, and lets parts leave in the order of
 * their starts. A frame that nothing follows within `maxFrameSeconds`, and the last one, end after their own duration.
 */
export class PartOrder {
  /** The newest frame, whose end is not known yet. */
  #frame: VideoPart | undefined;
  /** Complete parts, by start. */
  #waiting: MediaPart[] = [];
  #newest = Number.NEGATIVE_INFINITY;
  #buffered = 0;

  /**
   * @param frameSeconds a frame's own duration
   * @param audioBegun the start of an audio part that is still growing; infinity where there is none
   */
  constructor(
    private readonly frameSeconds: number,
    private readonly audioBegun: () => number = () => Number.POSITIVE_INFINITY,
  ) {}

  get buffered(): number {
    return this.#buffered + (this.#frame?.pixels.byteLength ?? 0);
  }

  /** @param frame its `end` is still to be set */
  *video(frame: VideoPart): Generator<MediaPart, void, undefined> {
    this.#finish(frame.start);
    this.#frame = frame;
    yield* this.#release(frame.start);
  }

  *audio(part: AudioPart): Generator<MediaPart, void, undefined> {
    const late = part.start < this.#newest - lateSeconds;
    if (late && part.samples.length < tailSeconds * part.sampleRate) return;
    if (this.#frame !== undefined && part.start - this.#frame.start > maxFrameSeconds) this.#finish(undefined);
    this.#insert(part);
    yield* this.#release(part.start);
  }

  *flush(): Generator<MediaPart, void, undefined> {
    this.#finish(undefined);
    yield* this.#release(Number.POSITIVE_INFINITY);
  }

  #finish(next: number | undefined): void {
    const frame = this.#frame;
    if (frame === undefined) return;
    this.#frame = undefined;
    const follows = next !== undefined && next - frame.start <= maxFrameSeconds;
    frame.end = follows ? next : frame.start + this.frameSeconds;
    this.#insert(frame);
  }

  #insert(part: MediaPart): void {
    let at = this.#waiting.length;
    while (at > 0 && precedes(part, this.#waiting[at - 1]!)) at--;
    this.#waiting.splice(at, 0, part);
    this.#buffered += size(part);
  }

  *#release(arrived: number): Generator<MediaPart, void, undefined> {
    this.#newest = Math.max(this.#newest, arrived);
    const frame = this.#frame?.start ?? Number.POSITIVE_INFINITY;
    const until = Math.min(this.#newest - slackSeconds, this.audioBegun());
    let count = 0;
    for (const { start } of this.#waiting) {
      if (start > until || start >= frame) break;
      count++;
    }
    for (const part of this.#waiting.splice(0, count)) {
      this.#buffered -= size(part);
      yield part;
    }
  }
}

/** By start; at the same start the frame comes first. */
function precedes(a: MediaPart, b: MediaPart): boolean {
  return a.start < b.start || (a.start === b.start && a.kind === "video" && b.kind === "audio");
}

function size(part: MediaPart): number {
  return part.kind === "video" ? part.pixels.byteLength : part.samples.byteLength;
}
