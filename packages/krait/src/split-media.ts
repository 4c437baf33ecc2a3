import { InputError } from "@krait/core";
import type { AudioPart, MediaPart, MediaStream, VideoPart } from "@krait/media";

/** Bytes that may wait for the slower reader. */
const MAX_WAITING_BYTES = 2 ** 30;

const defaultHint = "Encode the sound and the pictures of this file in two calls, or cut it to where it has both.";

interface Lane<P> {
  queue: P[];
  open: boolean;
}

/**
 * One decoder's parts as two iterables that may be read at different paces. Parts wait for the slower reader; both readers are
 * pulled by the same interleaving, which never runs one more than a window ahead, so the queues stay short where the file's
 * pictures and sound keep pace (see `keepsPace`).
 *
 * The iteration throws what the stream throws, and `InputError` (MEDIA_INTERLEAVING) when more than `maxBytes` wait.
 */
export function splitMedia(
  stream: MediaStream,
  { maxBytes = MAX_WAITING_BYTES, hint = defaultHint }: { maxBytes?: number; hint?: string } = {},
): { video: AsyncIterable<VideoPart>; audio: AsyncIterable<AudioPart> } {
  const lanes = {
    video: { queue: [], open: true } as Lane<VideoPart>,
    audio: { queue: [], open: true } as Lane<AudioPart>,
  };
  const parts = stream[Symbol.asyncIterator]();
  let pulling: Promise<void> | undefined;
  let ended = false;
  let waiting = 0;

  const keep = <P extends MediaPart>(lane: Lane<P>, part: P): void => {
    if (!lane.open) return;
    lane.queue.push(part);
    waiting += sizeOf(part);
    if (waiting <= maxBytes) return;
    throw new InputError(
      `Expected sound and pictures side by side but received over ${maxBytes} bytes of ${part.kind} alone`,
      {
        code: "MEDIA_INTERLEAVING",
        hint,
      },
    );
  };

  // One pull at a time, whoever asks.
  const pull = (): Promise<void> => {
    pulling ??= parts
      .next()
      .then((result: IteratorResult<MediaPart>) => {
        if (result.done) ended = true;
        else if (result.value.kind === "video") keep(lanes.video, result.value);
        else keep(lanes.audio, result.value);
      })
      .catch((error: unknown) => {
        ended = true;
        throw error;
      })
      .finally(() => {
        pulling = undefined;
      });
    return pulling;
  };

  async function* read<P extends MediaPart>(lane: Lane<P>): AsyncGenerator<P, void, undefined> {
    try {
      for (;;) {
        const part = lane.queue.shift();
        if (part !== undefined) {
          waiting -= sizeOf(part);
          yield part;
        } else if (ended) return;
        else await pull();
      }
    } finally {
      lane.open = false;
      for (const part of lane.queue) waiting -= sizeOf(part);
      lane.queue.length = 0;
      if (!lanes.video.open && !lanes.audio.open) await stream.close();
    }
  }
  return { video: read(lanes.video), audio: read(lanes.audio) };
}

function sizeOf(part: MediaPart): number {
  return part.kind === "video" ? part.pixels.byteLength : part.samples.byteLength;
}
