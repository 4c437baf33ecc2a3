import type { Closable } from "@krait/core";
import { fromNative } from "./from-native.js";
import type { NativeDevice, NativeResizer, ResizeTaps } from "./native.js";

/**
 * Resizes RGB24 pictures of one size by tables of coefficients, off the event loop, on the threads of a CPU device: rows first, rounded
 * to bytes, then columns. Pictures are worked on in the order they came.
 */
export class PictureResizer implements Closable {
  /** @internal */
  constructor(
    private readonly native: NativeResizer,
    /** Held because a device that nothing refers to closes. */
    readonly device: NativeDevice,
  ) {}

  /**
   * @param pixels RGB24, as many as the tables say. What is needed of them is copied at once: they may change when this returns.
   * @returns RGB24. Rejects with `UsageError` (INVALID_RUN) or, when the device is closed, `AbortedError`.
   */
  async run(pixels: Uint8Array): Promise<Uint8Array> {
    const bytes = await this.native.run(pixels).catch((e) => Promise.reject(fromNative(e, "resizing a picture")));
    return new Uint8Array(bytes);
  }

  close(): void {
    this.native.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/** Throws `UsageError` (INVALID_RUN) for tables that point outside the picture or overflow 32 bits, `EnvironmentError` (UNSUPPORTED). */
export function openResizer(native: NativeDevice, columns: ResizeTaps, rows: ResizeTaps): PictureResizer {
  try {
    return new PictureResizer(native.resizer({ columns, rows }), native);
  } catch (error) {
    throw fromNative(error, "preparing a resize");
  }
}
