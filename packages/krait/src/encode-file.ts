import { setImmediate as breathe } from "node:timers/promises";
import { EnvironmentError, type Limits } from "@krait/core";
import { writeAtomically } from "@krait/formats";
import { type MediaInfo, probe } from "@krait/media";
import { chosenStream } from "./decoder-sharing.js";
import type { EncodeOptions, Encoder } from "./encoder.js";
import { FeatureFileWriter } from "./feature-file.js";
import type { FeaturePart } from "./features.js";
import { refuseClashes } from "./output-clash.js";
import { ReportCollector } from "./report/index.js";
import { checkSources, type Source } from "./sources.js";
import { version } from "./version.js";

export interface EncodeFileOptions extends Pick<EncodeOptions, "signal" | "onProgress" | "pool"> {
  /** The safetensors file to write. */
  out: string;
  /** The HTML page to write beside it. */
  page?: string | undefined;
  title?: string | undefined;
  /** What the user asked for; stored in the file's metadata. */
  options?: Record<string, unknown>;
}

export interface EncodeFileResult {
  out: string;
  page: string | undefined;
  /** Rows of the file: tokens, or what they were pooled to; so too `byModality`. */
  tokens: number;
  dim: number;
  byModality: { text: number; audio: number; video: number; separator: number };
  mediaSeconds: number;
  elapsedSeconds: number;
}

const names = { 0: "text", 1: "audio", 2: "video", 255: "separator" } as const;

/**
 * Encodes sources into a feature file and, if asked, a page to look at. Memory does not grow with the input's length.
 *
 * @throws what `stream()` throws, UsageError (OUTPUT_CLASH) where a result would replace an input or the other result, and
 * EnvironmentError (OUTPUT_NOT_WRITABLE, OUTPUT_FOLDER_MISSING, DISK_FULL); nothing is left behind then. With PAGE_NOT_WRITTEN the feature file is whole and only the page is missing.
 */
export async function encodeFile(
  encoder: Encoder,
  sources: readonly Source[],
  job: EncodeFileOptions,
): Promise<EncodeFileResult> {
  const begun = performance.now();
  const { signal, onProgress, pool } = job;
  const page =
    job.page === undefined
      ? undefined
      : new ReportCollector({ dim: encoder.dim, title: job.title ?? "Krait features" });
  checkSources(sources);
  await refuseClashes(sources, job.page === undefined ? [job.out] : [job.out, job.page]);
  // Before the work: after it, a file that went away meanwhile would cost the features.
  const described = page ? await describeSources(sources, encoder.limits, signal) : [];
  const writer = await FeatureFileWriter.create(job.out, encoder.dim, encoder.model, {
    ...job.options,
    ...(pool !== undefined && { pool }),
  });
  const byModality = { text: 0, audio: 0, video: 0, separator: 0 };
  let mediaSeconds = 0;
  try {
    const taps = page && {
      video: (frame: Parameters<ReportCollector["addVideoFrame"]>[0]) => page.addVideoFrame(frame),
      audio: (part: Parameters<ReportCollector["addAudio"]>[0]) => page.addAudio(part),
      text: (words: string, name: string) => page.addText(words, name),
    };
    for await (const part of encoder.stream(sources, { signal, onProgress, taps, pool })) {
      await writer.append(part);
      if (page) await addToPage(page, part);
      for (let i = 0; i < part.count; i++) {
        byModality[names[part.modality[i] as keyof typeof names]]++;
        if (part.end[i]! > mediaSeconds) mediaSeconds = part.end[i]!;
      }
    }
    const elapsedSeconds = (performance.now() - begun) / 1000;
    const html = await page?.html(
      {
        sources: described,
        model: encoder.model,
        device: describeDevice(encoder),
        version,
        elapsedSeconds,
        ...(job.options && { options: job.options }),
      },
      signal ? { signal } : {},
    );
    const tokens = writer.rows;
    // The page comes last: without it the features are still whole, the other way round a page would show what is not there.
    await writer.finish(signal);
    if (html !== undefined && job.page !== undefined) await writePage(job.page, html, job.out);
    return { out: job.out, page: job.page, tokens, dim: encoder.dim, byModality, mediaSeconds, elapsedSeconds };
  } finally {
    await writer.abort();
  }
}

/** Pools a part some numbers at a time, with a turn of the event loop after each. */
async function addToPage(page: ReportCollector, { features, start, end, modality, count, dim }: FeaturePart) {
  const step = Math.max(1, Math.floor(2 ** 17 / dim));
  for (let from = 0; from < count; from += step) {
    const to = Math.min(count, from + step);
    page.addFeatures({
      features: features.subarray(from * dim, to * dim),
      start: start.subarray(from, to),
      end: end.subarray(from, to),
      modality: modality.subarray(from, to),
    });
    await breathe();
  }
}

async function writePage(path: string, html: string, features: string): Promise<void> {
  try {
    await writeAtomically(path, async (handle) => {
      await handle.writeFile(html);
    });
  } catch (cause) {
    throw new EnvironmentError(`Expected to write the page ${path} but received ${(cause as Error).message}`, {
      code: "PAGE_NOT_WRITTEN",
      hint: `The features are whole in ${features}. Free some space or check the folder's permissions for the page.`,
      cause,
    });
  }
}

function describeDevice(encoder: Encoder): string {
  const { name, threads } = encoder.device.describe() as { name?: string; threads?: number };
  return encoder.device.kind === "cuda" ? `CUDA, ${name}` : `CPU, ${threads} threads`;
}

async function describeSources(sources: readonly Source[], limits: Limits, signal: AbortSignal | undefined) {
  const infos = new Map<string, MediaInfo>();
  for (const source of sources) {
    if (source.kind === "text" || infos.has(source.path)) continue;
    infos.set(source.path, await probe(source.path, { limits, signal }));
  }
  return sources.map((source) => {
    if (source.kind === "text") return { name: source.name, kind: "text" as const };
    const info = infos.get(source.path)!;
    const stream = chosenStream(info, source);
    return {
      name: source.path,
      kind: stream?.kind === "image" ? ("image" as const) : source.kind,
      ...(info.durationSeconds !== undefined && { durationSeconds: info.durationSeconds }),
      ...(stream && { details: `${stream.codec}${stream.width ? `, ${stream.width}×${stream.height}` : ""}` }),
    };
  });
}
