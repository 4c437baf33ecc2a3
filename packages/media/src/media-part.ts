import type { Closable } from "@krait/core";

/** One frame. `pixels` is RGB24, height · width · 3 bytes, row by row from the top left. */
export interface VideoPart {
  kind: "video";
  pixels: Uint8Array;
  width: number;
  height: number;
  /** The container's presentation time, seconds. */
  start: number;
  /** The next kept frame's start; see `decode`. */
  end: number;
}

/** A run of mono samples. Sample i lies at start + i / sampleRate. */
export interface AudioPart {
  kind: "audio";
  samples: Float32Array;
  /** Hertz. */
  sampleRate: number;
  /** Seconds on the container's timeline. */
  start: number;
}

export type MediaPart = VideoPart | AudioPart;

/** Decoded parts, pulled one at a time: a consumer that stops asking stops the decoder. May be iterated once. */
export interface MediaStream extends AsyncIterable<MediaPart>, Closable {
  /** Bytes decoded but not yet yielded, on our side of the pipe. Bounded whatever the consumer does. */
  readonly bufferedBytes: number;
  close(): Promise<void>;
}
