import { expected, UsageError } from "@krait/core";
import sharp from "sharp";
import { TimeSlots } from "./slots.js";

/** A decoded frame. Times in seconds. */
export interface VideoFrame {
  /** RGB, 8 bits each, row-major [height, width, 3]. Must stay as it is until the promise of `add` settles. */
  pixels: Uint8Array;
  width: number;
  height: number;
  start: number;
  end: number;
}

export interface Thumbnail {
  start: number;
  end: number;
  width: number;
  height: number;
  jpeg: Buffer;
}

/** Widest and tallest a thumbnail gets, in pixels. */
const SIDE = 160;

/** Small pictures of the video at even steps of time, at most `capacity` of them however long it runs. */
export class Thumbnails {
  readonly #slots: TimeSlots<Promise<Thumbnail>>;

  constructor(capacity = 60) {
    this.#slots = new TimeSlots(capacity, 1 / 8);
  }

  /**
   * Takes a frame; most are passed over at no cost, a kept one is encoded off the event loop.
   *
   * @throws UsageError INVALID_FRAME
   */
  async add(frame: VideoFrame): Promise<void> {
    const { pixels, width, height, start, end } = frame;
    if (!(width > 0 && height > 0) || pixels.length !== width * height * 3)
      throw invalid(`${width} x ${height} x 3 bytes`, "pixels", `${pixels.length} bytes`);
    if (!Number.isFinite(start) || !Number.isFinite(end)) throw invalid("finite times", "a frame", [start, end]);
    const time = Math.max(0, start);
    if (!this.#slots.wants(time)) return;
    const encoding = encode(frame);
    this.#slots.add(time, encoding);
    await encoding;
  }

  /** All kept so far, in order of time. */
  async list(): Promise<Thumbnail[]> {
    return Promise.all(this.#slots.entries().map(({ item }) => item));
  }
}

function invalid(what: string, name: string, received: unknown): UsageError {
  return new UsageError(expected(what, name, received), {
    code: "INVALID_FRAME",
    hint: "Pass RGB24 pixels of width x height x 3 bytes and the frame's start and end in seconds.",
  });
}

async function encode({ pixels, width, height, start, end }: VideoFrame): Promise<Thumbnail> {
  const { data, info } = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .resize({ width: SIDE, height: SIDE, fit: "inside", withoutEnlargement: true })
    .jpeg({ quality: 72 })
    .toBuffer({ resolveWithObject: true });
  return { start: Math.max(0, start), end: Math.max(0, end), width: info.width, height: info.height, jpeg: data };
}
