import type { AudioPart, MediaPart, VideoPart } from "./media-part.js";

/**
 * A frame waits this long for its successor, and no more audio than this is held for it. Seconds.
 * The rule is in media time, so the ends do not depend on how fast anything ran.
 */
export const maxFrameSeconds = 60;

/**
 * Gives every frame its end, the next kept frame's start, by holding one frame back; audio that begins after the held
 * frame waits with it, so that parts leave in the order of their starts. A frame that nothing follows within
 * `maxFrameSeconds`, and the last one, end after their own duration.
 */
export class PartOrder {
  #frame: VideoPart | undefined;
  #audio: AudioPart[] = [];

  /** @param frameSeconds a frame's own duration */
  constructor(private readonly frameSeconds: number) {}

  get buffered(): number {
    return this.#audio.reduce((sum, part) => sum + part.samples.byteLength, this.#frame?.pixels.byteLength ?? 0);
  }

  /** @param frame its `end` is still to be set */
  *video(frame: VideoPart): Generator<MediaPart, void, undefined> {
    yield* this.#release(frame.start);
    this.#frame = frame;
  }

  *audio(part: AudioPart): Generator<MediaPart, void, undefined> {
    if (this.#frame === undefined || part.start < this.#frame.start) {
      yield part;
      return;
    }
    this.#audio.push(part);
    if (part.start - this.#frame.start > maxFrameSeconds) yield* this.#release(undefined);
  }

  *flush(): Generator<MediaPart, void, undefined> {
    yield* this.#release(undefined);
  }

  *#release(next: number | undefined): Generator<MediaPart, void, undefined> {
    const frame = this.#frame;
    if (frame !== undefined) {
      this.#frame = undefined;
      const follows = next !== undefined && next - frame.start <= maxFrameSeconds;
      frame.end = follows ? next : frame.start + this.frameSeconds;
      yield frame;
    }
    const audio = this.#audio;
    this.#audio = [];
    yield* audio;
  }
}
