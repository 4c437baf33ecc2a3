import { setImmediate as breathe } from "node:timers/promises";
import { EnvironmentError, expected, KraitError, type Limits, UsageError } from "@krait/core";
import { npyBeside, openPartial, writeAtomically } from "@krait/formats";
import { type MediaInfo, type MediaInput, probe } from "@krait/media";
import { chosenStream } from "./decoder-sharing.js";
import type { EncodeOptions, Encoder, RunState } from "./encoder.js";
import { FeatureFileWriter } from "./feature-file.js";
import type { FeaturePart } from "./features.js";
import { refuseClashes } from "./output-clash.js";
import { ReportCollector } from "./report/index.js";
import { loadRunState, type Resumable, runIdentity, saveRunState } from "./resume.js";
import { isNpy } from "./row-file.js";
import { checkSources, type Source } from "./sources.js";
import { version } from "./version.js";

export interface EncodeFileOptions extends Pick<EncodeOptions, "signal" | "onProgress" | "pool"> {
  /** The file to write: safetensors, or for a name that ends in .npy three npy files, `F.npy`, `F.times.npy` and `F.modality.npy`. */
  out: string;
  /** The HTML page to write beside it. */
  page?: string | undefined;
  title?: string | undefined;
  /** What the user asked for; stored in the file's metadata. */
  options?: Record<string, unknown>;
  /**
   * Goes on where an interrupted run with the same sources, model and options stopped; starts anew where none left anything. The sources
   * are read again up to there, but not encoded, and the result is that of an uninterrupted run.
   */
  resume?: boolean | undefined;
  /**
   * Seconds of work after which, and in steps of which, what there is is worth keeping (default 30): a run that fails, is aborted or killed
   * later leaves its rows and its state beside `out`.
   */
  checkpointSeconds?: number | undefined;
}

export interface EncodeFileResult {
  out: string;
  page: string | undefined;
  /** Rows of the file: tokens, or what they were pooled to; so too `byModality`. */
  tokens: number;
  dim: number;
  byModality: { text: number; audio: number; video: number; class: number; separator: number };
  mediaSeconds: number;
  elapsedSeconds: number;
  /** Tokens that an interrupted run had encoded. */
  resumedTokens: number;
}

const names = { 0: "text", 1: "audio", 2: "video", 254: "class", 255: "separator" } as const;

/**
 * Encodes sources into a feature file and, if asked, a page to look at. Memory does not grow with the input's length.
 *
 * While it runs, rows lie in `out.partial…`, which `inspectFeatures()` reads, also when the process was killed. A run that fails or is
 * aborted within `checkpointSeconds` leaves nothing behind; a later one leaves its rows and says so (ABORTED_KEPT for an abort).
 *
 * @throws what `stream()` throws, UsageError (OUTPUT_CLASH) where a result would replace an input or the other result, (OUTPUT_BUSY) while
 * another run writes it, (RESUME_MISMATCH), InputError (RESUME_INVALID, PARTIAL_INVALID) and EnvironmentError (OUTPUT_NOT_WRITABLE,
 * OUTPUT_FOLDER_MISSING, DISK_FULL). With PAGE_NOT_WRITTEN the feature file is whole and only the page is missing.
 */
export async function encodeFile(
  encoder: Encoder,
  sources: readonly Source[],
  job: EncodeFileOptions,
): Promise<EncodeFileResult> {
  const begun = performance.now();
  const { signal, onProgress, pool, checkpointSeconds = 30 } = job;
  const page =
    job.page === undefined
      ? undefined
      : new ReportCollector({ dim: encoder.dim, title: job.title ?? "Krait features" });
  checkSources(sources);
  await refuseClashes(sources, outputs(job));
  // Before the work: after it, a file that went away meanwhile would cost the features.
  const described = page ? await describeSources(sources, encoder.limits, signal) : [];
  const identity = await runIdentity(encoder, sources, pool);
  if (job.resume && !identity) throw cannotResume();
  const earlier = job.resume && identity ? await loadRunState(job.out, identity) : undefined;
  const writer = await FeatureFileWriter.create(job.out, {
    dim: encoder.dim,
    model: encoder.model,
    options: { ...job.options, ...(pool !== undefined && { pool }) },
    resumeRows: earlier?.rows,
  }).finally(() => earlier?.partial.close());
  const totals = { byModality: { text: 0, audio: 0, video: 0, class: 0, separator: 0 }, mediaSeconds: 0 };
  // Of tokens too, since a class token alone does not tell how far they go.
  const onTokens = ({ end }: FeaturePart) => {
    for (const seconds of end) totals.mediaSeconds = Math.max(totals.mediaSeconds, seconds);
  };
  const take = async (part: FeaturePart) => {
    if (page) await addToPage(page, part);
    for (const code of part.modality) totals.byModality[names[code as keyof typeof names]]++;
    onTokens(part);
  };
  let saved = performance.now();
  let keep = earlier !== undefined;
  const checkpoint = {
    due: () => performance.now() - saved >= checkpointSeconds * 1000,
    take: async (state: RunState) => {
      keep = true;
      await writer.flush();
      if (identity) await saveRunState(job.out, identity, writer.rows, state);
      saved = performance.now();
    },
  };
  try {
    if (earlier) for await (const part of readRows(job.out, earlier, signal)) await take(part);
    const taps = page && {
      video: (frame: Parameters<ReportCollector["addVideoFrame"]>[0]) => page.addVideoFrame(frame),
      audio: (part: Parameters<ReportCollector["addAudio"]>[0]) => page.addAudio(part),
      text: (words: string, name: string) => page.addText(words, name),
      cue: (cue: Parameters<ReportCollector["addCue"]>[0]) => page.addCue(cue),
    };
    const options = { signal, onProgress, taps, pool };
    for await (const part of encoder.streamFrom(sources, options, { from: earlier?.state, checkpoint, onTokens })) {
      await writer.append(part);
      await take(part);
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
    keep = false;
    if (html !== undefined && job.page !== undefined) await writePage(job.page, html, job.out);
    return {
      out: job.out,
      page: job.page,
      tokens,
      dim: encoder.dim,
      ...totals,
      elapsedSeconds,
      resumedTokens: earlier?.state.tokens ?? 0,
    };
  } catch (error) {
    throw keep ? keptError(error, job.out, writer.rows, identity !== undefined) : error;
  } finally {
    if (keep) await writer.leave();
    else await writer.abort();
  }
}

function outputs({ out, page }: EncodeFileOptions): string[] {
  const beside = isNpy(out) ? [npyBeside(out, "times"), npyBeside(out, "modality")] : [];
  return [out, ...beside, ...(page === undefined ? [] : [page])];
}

/** Rows read back at a time. */
const ROWS_PER_READ = 4096;

/** What an interrupted run has written, for those who count and pool it. */
async function* readRows(
  out: string,
  { rows }: Resumable,
  signal: AbortSignal | undefined,
): AsyncGenerator<FeaturePart, void, undefined> {
  const partial = await openPartial(out);
  try {
    const dim = partial.tensors.get("features")!.shape[1]!;
    for (let from = 0; from < rows; from += ROWS_PER_READ) {
      const to = Math.min(rows, from + ROWS_PER_READ);
      const read = (name: string) => partial.readRows(name, from, to, signal ? { signal } : {});
      const times = (await read("times")) as Float64Array;
      const count = to - from;
      yield {
        count,
        dim,
        features: (await read("features")) as Float32Array,
        start: Float64Array.from({ length: count }, (_, i) => times[2 * i]!),
        end: Float64Array.from({ length: count }, (_, i) => times[2 * i + 1]!),
        modality: (await read("modality")) as Uint8Array,
        row: new Uint16Array(count),
        column: new Uint16Array(count),
      };
    }
  } finally {
    await partial.close();
  }
}

/** The same error, with a word on what is left. */
function keptError(error: unknown, out: string, rows: number, resumable: boolean): unknown {
  if (!KraitError.is(error)) return error;
  const { kind, code, message, hint = "" } = error;
  const kept = `${rows} rows are kept in ${out}.partial`;
  const remedy = resumable
    ? "Run it again with `resume` (--resume) to go on with them."
    : "`krait inspect` shows them.";
  if (kind === "aborted")
    return new KraitError(kind, `interrupted; ${kept}`, { code: "ABORTED_KEPT", hint: remedy, cause: error });
  return new KraitError(kind, message, { code, hint: `${hint} ${kept}. ${remedy}`.trim(), cause: error });
}

function cannotResume(): UsageError {
  return new UsageError(expected("files", "a run to resume", "a stream"), {
    code: "RESUME_STREAM",
    hint: "A stream cannot be read again from its beginning: save it to a file first.",
  });
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
  const infos = new Map<MediaInput, MediaInfo>();
  for (const source of sources) {
    if (source.kind === "text" || infos.has(source.input)) continue;
    infos.set(source.input, await probe(source.input, { limits, signal }));
  }
  return sources.map((source) => {
    if (source.kind === "text") return { name: source.name, kind: "text" as const };
    const info = infos.get(source.input)!;
    const stream = chosenStream(info, source);
    return {
      name: source.path,
      kind: stream?.kind === "image" ? ("image" as const) : source.kind,
      ...(info.durationSeconds !== undefined && { durationSeconds: info.durationSeconds }),
      ...(stream && { details: `${stream.codec}${stream.width ? `, ${stream.width}×${stream.height}` : ""}` }),
    };
  });
}
