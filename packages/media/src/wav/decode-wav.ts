import { AudioTimeline } from "../audio-timeline.js";
import type { DecodePlan } from "../decode-options.js";
import { checkDuration, noStream, truncated } from "../media-errors.js";
import type { AudioPart } from "../media-part.js";
import type { StreamContext } from "../media-stream.js";
import type { Source } from "../open-source.js";
import { Resampler } from "../resample.js";
import { openWav } from "./wav-file.js";

/** Decodes a wav file piece by piece without ffmpeg: mean of the channels, windowed-sinc resampling, flat memory. */
export async function* decodeWav(
  source: Source,
  plan: DecodePlan,
  context: StreamContext,
): AsyncGenerator<AudioPart, void, undefined> {
  if (plan.video !== undefined || plan.audio === undefined) throw noStream(source.path, "video", "a wav file");
  const { limits, audio } = plan;
  const wav = await openWav(source, limits);
  try {
    const { sampleRate, blocks, declaredBlocks } = wav.header;
    const first = Math.min(blocks, Math.ceil(plan.start * sampleRate));
    const last = Math.min(blocks, Math.ceil(plan.end * sampleRate));
    checkDuration((last - first) / sampleRate, source.path, limits);
    const resampler = sampleRate === audio.sampleRate ? undefined : new Resampler(sampleRate, audio.sampleRate, audio);
    const timeline = new AudioTimeline(audio.sampleRate, source.path, limits.maxDurationSeconds);
    context.measure(() => timeline.buffered);
    const start = first / sampleRate;
    let read = 0;
    let produced = 0;
    const lay = (samples: Float32Array) => {
      const parts = timeline.push(start + produced / audio.sampleRate, samples);
      produced += samples.length;
      return parts;
    };
    for await (const piece of wav.mono(first, last)) {
      read += piece.length;
      for (const part of lay(resampler?.push(piece) ?? piece)) {
        context.throwIfClosed();
        yield part;
      }
    }
    if (resampler !== undefined) yield* lay(resampler.flush());
    yield* timeline.flush();
    const promised = Math.min(declaredBlocks, Math.ceil(plan.end * sampleRate)) - first;
    if (read < promised) throw truncated(source.path, `${first + read} of ${declaredBlocks} samples`);
  } finally {
    await wav.close();
  }
}
