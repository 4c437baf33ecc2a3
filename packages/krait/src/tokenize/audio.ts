import { decode } from "@krait/media";
import { openDevice, polyphase } from "@krait/runtime";
import { type AudioPreset, createSpectral, type FrameStream, type RowStatistics } from "@krait/tokenizers";
import type { TokenizePlan } from "./options.js";
import type { RowSink } from "./sink.js";

/** Frames of 10 ms that one native run makes. */
const chunkFrames = 512;

/**
 * The rows of an audio front end at its own rate. A normalisation that needs the whole signal reads the file twice; memory stays the
 * same. Row i lies at [i, i + 1) · hop behind the time of the first sample.
 */
export async function tokenizeAudio(
  path: string,
  preset: AudioPreset,
  plan: TokenizePlan,
  sink: RowSink,
): Promise<void> {
  const { signal } = plan;
  const device = await openDevice({ device: "cpu" });
  try {
    const frontEnd = await createSpectral(device, preset.definition(plan.normalization), { chunkFrames });
    let statistics: RowStatistics | undefined;
    if (frontEnd.needsSurvey) {
      const survey = frontEnd.survey({ signal });
      await feed(
        path,
        plan,
        () => survey.stream,
        () => undefined,
      );
      statistics = survey.statistics;
    }
    const { hop, sampleRate } = frontEnd.definition.grid;
    const period = hop / sampleRate;
    const { bins } = frontEnd;
    let origin = 0;
    let made = 0;
    const open = (start: number) => {
      origin = start;
      return frontEnd.stream({ start, signal, statistics });
    };
    const keep = async (rows: Float32Array) => {
      const count = rows.length / bins;
      const times = new Float64Array(2 * count);
      for (let i = 0; i < count; i++) {
        times[2 * i] = origin + (made + i) * period;
        times[2 * i + 1] = origin + (made + i + 1) * period;
      }
      made += count;
      await sink.append(bins, rows, times, count);
    };
    await feed(path, plan, open, keep);
    await sink.ready(bins);
  } finally {
    await device.close();
  }
}

/** Decodes the file into a stream, opened when the time of its first sample is known. */
async function feed(
  path: string,
  { stream: index, start, end, limits, signal }: TokenizePlan,
  open: (start: number) => FrameStream,
  keep: (rows: Float32Array) => unknown,
): Promise<void> {
  let stream: FrameStream | undefined;
  const parts = decode(path, {
    audio: { sampleRate: 16000, polyphase, ...(index !== undefined && { stream: index }) },
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    limits,
    signal,
  });
  for await (const part of parts) {
    if (part.kind !== "audio") continue;
    stream ??= open(part.start);
    const rows = await stream.push(part.samples);
    if (rows.length > 0) await keep(rows);
  }
  stream ??= open(0);
  const rows = await stream.finish();
  if (rows.length > 0) await keep(rows);
}
