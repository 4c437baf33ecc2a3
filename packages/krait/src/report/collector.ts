import { setImmediate as breathe } from "node:timers/promises";
import { expected, parseOptions, throwIfAborted, UsageError } from "@krait/core";
import { type TrackData, trackData } from "./analysis.js";
import { FeatureBins, type FeatureChunk, type Lane, modalityCode } from "./binning.js";
import { type AudioChunk, Envelope } from "./envelope.js";
import { type CollectorOptions, collectorSchema, metaSchema, type ReportMeta } from "./meta.js";
import { renderPage } from "./page/document.js";
import { type Cue, Passages } from "./passages.js";
import { quantise } from "./quantise.js";
import { type Similarity, similarity } from "./similarity.js";
import { Thumbnails, type VideoFrame } from "./thumbnails.js";

/** What the page's script reads. Short on purpose: it travels as JSON inside the page. */
export interface PageData {
  /** Seconds; zero if nothing has a place in time. */
  duration: number;
  /** Seconds per feature bin, and how many there are. */
  bin: number;
  bins: number;
  wave?: { bin: number; bins: number; min: string; max: string; rms: string; peak: number };
  cues: Cue[];
  tracks: TrackData[];
  similarity?: Similarity;
}

/**
 * Watches a run go by and leaves one self-contained page about it. Memory does not grow with the length of the run:
 * time bins, thumbnails and cues thin out by doubling their step.
 *
 * Features may come in any chunks; times are in seconds from the start of the run.
 */
export class ReportCollector {
  readonly #title: string;
  readonly #bins: FeatureBins;
  readonly #thumbnails: Thumbnails;
  readonly #envelope = new Envelope();
  readonly #texts = new Passages();
  /** Seconds; the latest end of anything that has a time. */
  #end = 0;

  /** @throws UsageError INVALID_OPTION */
  constructor(options: CollectorOptions) {
    const { dim, title, maxBins, maxThumbnails } = parseOptions(collectorSchema, options, "ReportCollector()");
    this.#title = title;
    this.#bins = new FeatureBins(dim, maxBins);
    this.#thumbnails = new Thumbnails(maxThumbnails);
  }

  /**
   * Shows a decoded frame (RGB24) to the collector, which keeps a small JPEG of few of them. Await it before reusing the pixels.
   *
   * @throws UsageError INVALID_FRAME
   */
  async addVideoFrame(frame: VideoFrame): Promise<void> {
    const kept = this.#thumbnails.add(frame);
    await kept;
    this.#end = Math.max(this.#end, frame.start, frame.end);
  }

  /** Adds mono samples to the waveform. @throws UsageError INVALID_AUDIO */
  addAudio(chunk: AudioChunk): void {
    this.#envelope.add(chunk);
  }

  /** Adds encoder output [tokens, dim]. @throws UsageError INVALID_FEATURES */
  addFeatures(chunk: FeatureChunk): void {
    this.#bins.add(chunk);
  }

  /** Adds untimed text, whole or in parts; only the beginning of it is kept. */
  addText(text: string, source = ""): void {
    this.#texts.add(text, source);
  }

  /** Adds a line of timed text. @throws UsageError INVALID_CUE */
  addCue(cue: Cue): void {
    if (!Number.isFinite(cue.start) || !Number.isFinite(cue.end) || cue.end < cue.start)
      throw new UsageError(expected("finite times with start <= end", "a cue", [cue.start, cue.end]), {
        code: "INVALID_CUE",
        hint: "Pass the start and end of the line in seconds.",
      });
    this.#texts.addCue(cue);
    this.#end = Math.max(this.#end, cue.end);
  }

  /**
   * The page: one HTML document that needs no network and stays under 8 MB. The collector may go on afterwards.
   *
   * @throws UsageError INVALID_OPTION for a wrong meta, AbortedError
   */
  async html(meta: ReportMeta, options: { signal?: AbortSignal } = {}): Promise<string> {
    const parsed = parseOptions(metaSchema, meta, "html()");
    const bins = this.#bins;
    const lanes = [modalityCode.video, modalityCode.audio, modalityCode.text]
      .map((code): [number, Lane | undefined] => [code, bins.lane(code)])
      .filter((entry): entry is [number, Lane] => entry[1] !== undefined);
    const duration = Math.max(this.#end, this.#envelope.end, bins.maxEnd);
    const untimed = this.#untimedText();
    const timed = duration > 0 && bins.count > 0 && lanes.length > 0;
    const tracks: TrackData[] = [];
    for (const [code, lane] of timed ? lanes : []) {
      tracks.push(await trackData(code, lane, bins, { text: untimed, signal: options.signal }));
    }
    const data: PageData = {
      duration,
      bin: bins.width,
      bins: bins.count,
      ...(this.#envelope.count > 0 && { wave: this.#wave() }),
      cues: this.#texts.cues,
      tracks,
      ...(timed && { similarity: await similarity(bins, lanes, { signal: options.signal }) }),
    };
    const thumbnails = await this.#thumbnails.list();
    await breathe();
    throwIfAborted(options.signal, "the report");
    return renderPage({
      title: this.#title,
      meta: parsed,
      data,
      dim: bins.dim,
      tokens: { ...bins.tokens },
      untimedTokens: bins.prefix.tokens + (bins.suffix?.tokens ?? 0),
      nonFinite: bins.nonFinite,
      thumbnails,
      passages: this.#texts.passages,
      passageCount: this.#texts.passageCount,
      cueCount: this.#texts.cueCount,
    });
  }

  #untimedText(): Float64Array | undefined {
    const { prefix, suffix } = this.#bins;
    if (prefix.tokens + (suffix?.tokens ?? 0) === 0) return undefined;
    return prefix.sum.map((value, d) => value + (suffix?.sum[d] ?? 0));
  }

  #wave(): NonNullable<PageData["wave"]> {
    const { min, max, count, width } = this.#envelope;
    const indices = Array.from({ length: count }, (_, bin) => bin);
    const heard = (bin: number) => this.#envelope.samplesIn(bin) > 0;
    const peak = indices.reduce((top, bin) => (heard(bin) ? Math.max(top, -min[bin]!, max[bin]!) : top), 0);
    const range = { lo: -(peak || 1), hi: peak || 1 };
    const encode = (value: (bin: number) => number) =>
      quantise(
        indices.map((bin) => (heard(bin) ? value(bin) : Number.NaN)),
        range,
      ).data;
    return {
      bin: width,
      bins: count,
      min: encode((bin) => min[bin]!),
      max: encode((bin) => max[bin]!),
      rms: encode((bin) => this.#envelope.rms(bin)),
      peak,
    };
  }
}
