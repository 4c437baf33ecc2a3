import { KraitError } from "@krait/core";
import { decode } from "@krait/media";
import { type Device, openDevice } from "@krait/runtime";
import {
  economizeFrames,
  ImageProcessor,
  mergedPatches,
  type PixelValues,
  readImageProcessorConfig,
  type VideoFrame,
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
  const config = plan.processor === undefined ? undefined : await readImageProcessorConfig(plan.processor);
  const options = config?.options ?? preset.options(plan.size);
  const device = await resizingDevice();
  const processor = new ImageProcessor(options, device);
  const rows = preset.rows === "frame" ? preset.rows : (config?.patches ?? preset.rows);
  const group = rows === "frame" ? 1 : rows.frames;
  const all = pictures(path, plan);
  const kept = plan.economy === undefined ? all : economizeFrames(all, { ...plan.economy, signal: plan.signal });
  let waiting: Prepared[] = [];
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
  try {
    for await (const frame of prepared(kept, processor)) {
      const { values } = frame;
      const [first] = waiting;
      // A stream that changes its size cannot share a group.
      if (first && (first.values.width !== values.width || first.values.height !== values.height)) await flush();
      waiting.push(frame);
      if (waiting.length === group) await flush();
    }
    await flush();
    await sink.ready(0);
  } finally {
    await processor.close();
    await device?.close();
  }
}

interface Prepared {
  values: PixelValues;
  start: number;
  end: number;
}

/** Resizing needs no device: without the native addon it happens here, on the event loop and slower. */
async function resizingDevice(): Promise<Device | undefined> {
  try {
    return await openDevice({ device: "cpu" });
  } catch (error) {
    if (KraitError.is(error) && error.code === "ADDON_NOT_FOUND") return undefined;
    throw error;
  }
}

/** While one picture is resized the next is decoded. */
async function* prepared(
  frames: AsyncIterable<VideoFrame>,
  processor: ImageProcessor,
): AsyncGenerator<Prepared, void, undefined> {
  let ahead: Promise<Prepared> | undefined;
  for await (const frame of frames) {
    const { start, end } = frame;
    const next = processor.run(frame).then((values) => ({ values, start, end }));
    // Heard when its turn comes; until then a failure is nobody's.
    next.catch(() => undefined);
    if (ahead !== undefined) yield await ahead;
    ahead = next;
  }
  if (ahead !== undefined) yield await ahead;
}

async function* pictures(path: string, plan: TokenizePlan): AsyncGenerator<VideoFrame, void, undefined> {
  const { fps, count, stream, start, end, limits, signal } = plan;
  const sampling = fps !== undefined ? { fps } : count !== undefined ? { count } : "all";
  const parts = decode(path, {
    video: { sampling, ...(stream !== undefined && { stream }) },
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    limits,
    signal,
  });
  for await (const part of parts) if (part.kind === "video") yield part;
}
