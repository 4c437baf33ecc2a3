import { AbortedError, UsageError } from "@krait/core";
import type { MediaPart, MediaStream } from "./media-part.js";

/** What a decoder sees of the stream it feeds. */
export interface StreamContext {
  /** Fires when the caller aborts, closes the stream or leaves its loop. */
  readonly signal: AbortSignal;
  /** Throws `AbortedError` once `signal` has fired. */
  throwIfClosed(): void;
  /** Registers how many bytes are held at the moment. */
  measure(bytes: () => number): void;
}

/** Wraps a decoder's generator: nothing starts before the first part is asked for, everything stops with `close()`. */
export function createMediaStream(
  decoder: (context: StreamContext) => AsyncGenerator<MediaPart, void, undefined>,
  signal: AbortSignal | undefined,
): MediaStream {
  const closing = new AbortController();
  let measure = () => 0;
  let parts: AsyncGenerator<MediaPart, void, undefined> | undefined;
  let closed = false;
  const onAbort = () => closing.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });

  const context: StreamContext = {
    signal: closing.signal,
    throwIfClosed() {
      if (closing.signal.aborted) throw new AbortedError("decoding", closing.signal.reason);
    },
    measure(bytes) {
      measure = bytes;
    },
  };

  async function close(): Promise<void> {
    closed = true;
    signal?.removeEventListener("abort", onAbort);
    closing.abort();
    // Waits for the decoder's own clean-up, whatever it was doing.
    await parts?.return().catch(() => undefined);
    measure = () => 0;
  }

  async function next(): Promise<IteratorResult<MediaPart, void>> {
    try {
      if (!closed) context.throwIfClosed();
      const result = closed ? { done: true as const, value: undefined } : await parts!.next();
      if (result.done) await close();
      return result;
    } catch (error) {
      const byCaller = closed && !signal?.aborted;
      await close();
      if (byCaller && error instanceof AbortedError) return { done: true, value: undefined };
      throw error;
    }
  }

  return {
    get bufferedBytes() {
      return measure();
    },
    close,
    [Symbol.asyncDispose]: close,
    [Symbol.asyncIterator]() {
      if (parts !== undefined) {
        throw new UsageError("Expected one loop over a media stream but received a second", {
          code: "STREAM_CONSUMED",
          hint: "Call decode() again: a stream is decoded as it is read.",
        });
      }
      parts = decoder(context);
      return {
        next,
        async return() {
          await close();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
