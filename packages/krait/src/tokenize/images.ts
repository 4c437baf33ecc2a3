import { decode, type VideoPart } from "@krait/media";
import {
  ImageProcessor,
  mergedPatches,
  type PixelValues,
  readImageProcessorOptions,
  type VisionPreset,
} from "@krait/tokenizers";
import type { TokenizePlan } from "./options.js";
import type { RowSink } from "./sink.js";

/**
 * The pictures of an image or video, one row per frame or, for presets with patches, one row per patch. Frames are decoded at their own
 * size and resized as the preset defines it.
 */
export async function tokenizeImages(
  path: string,
  preset: VisionPreset,
  plan: TokenizePlan,
  sink: RowSink,
): Promise<void> {
  const options =
    plan.processor === undefined ? preset.options(plan.size) : await readImageProcessorOptions(plan.processor);
  const processor = new ImageProcessor(options);
  const { rows } = preset;
  const group = rows === "frame" ? 1 : rows.frames;
  let waiting: { values: PixelValues; start: number; end: number }[] = [];
  const flush = async () => {
    const [first] = waiting;
    if (first === undefined) return;
    const last = waiting.at(-1)!;
    while (waiting.length < group) waiting.push(last);
    const frames = waiting.map(({ values }) => values);
    const { values, count } =
      rows === "frame"
        ? { values: frames[0]!.values, count: 1 }
        : mergedPatches(frames, { patch: rows.patch, merge: rows.merge });
    const times = Float64Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? first.start : last.end));
    waiting = [];
    await sink.append(values.length / count, values, times, count);
  };
  for await (const frame of pictures(path, plan)) {
    const values = processor.process(frame);
    const [first] = waiting;
    // A stream that changes its size cannot share a group.
    if (first && (first.values.width !== values.width || first.values.height !== values.height)) await flush();
    waiting.push({ values, start: frame.start, end: frame.end });
    if (waiting.length === group) await flush();
  }
  await flush();
  await sink.ready(0);
}

async function* pictures(path: string, plan: TokenizePlan): AsyncGenerator<VideoPart, void, undefined> {
  const { fps, count, start, end, limits, signal } = plan;
  const sampling = fps !== undefined ? { fps } : count !== undefined ? { count } : "all";
  const parts = decode(path, {
    video: { sampling },
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    limits,
    signal,
  });
  for await (const part of parts) if (part.kind === "video") yield part;
}
