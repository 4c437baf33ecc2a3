import type { AudioPart, MediaPart, MediaStream, VideoPart } from "@krait/media";

interface Lane<P> {
  queue: P[];
  open: boolean;
}

/**
 * One decoder's parts as two iterables that may be read at different paces. Parts wait for the slower reader; both readers are
 * pulled by the same interleaving, which never runs one more than a window ahead, so the queues stay short.
 */
export function splitMedia(stream: MediaStream): { video: AsyncIterable<VideoPart>; audio: AsyncIterable<AudioPart> } {
  const lanes = {
    video: { queue: [], open: true } as Lane<VideoPart>,
    audio: { queue: [], open: true } as Lane<AudioPart>,
  };
  const parts = stream[Symbol.asyncIterator]();
  let pulling: Promise<void> | undefined;
  let ended = false;

  // One pull at a time, whoever asks.
  const pull = (): Promise<void> => {
    pulling ??= parts
      .next()
      .then((result: IteratorResult<MediaPart>) => {
        if (result.done) ended = true;
        else if (result.value.kind === "video") {
          if (lanes.video.open) lanes.video.queue.push(result.value);
        } else if (lanes.audio.open) lanes.audio.queue.push(result.value);
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

  async function* read<P>(lane: Lane<P>): AsyncGenerator<P, void, undefined> {
    try {
      for (;;) {
        const part = lane.queue.shift();
        if (part !== undefined) yield part;
        else if (ended) return;
        else await pull();
      }
    } finally {
      lane.open = false;
      lane.queue.length = 0;
      if (!lanes.video.open && !lanes.audio.open) await stream.close();
    }
  }
  return { video: read(lanes.video), audio: read(lanes.audio) };
}
