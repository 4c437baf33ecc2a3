import type { Limits } from "@krait/core";
import { checkDuration, type MediaInfo, probe, type StreamInfo } from "@krait/media";
import { type EncoderConfig, patchesPerTubelet } from "@krait/nn";
import {
  predictAudioTokens,
  predictSeparators,
  readTextSource,
  type StartSpan,
  type TextTokenizer,
} from "@krait/tokenizers";
import { chosenStream } from "./decoder-sharing.js";
import { videoOptions } from "./pipeline.js";
import { checkSources, type Source, type VideoSource } from "./sources.js";

/** How long the flat sequence will be. */
export interface Prediction {
  tokens: number;
  /** Whether every count follows from what is known; false marks an estimate (video, lossy sound, unknown duration). */
  exact: boolean;
  /** Seconds of media, the longest source. */
  seconds: number | undefined;
  byModality: { text: number; audio: number; video: number; separator: number };
}

export interface PredictOptions {
  config: EncoderConfig;
  tokenizer: TextTokenizer | undefined;
  limits: Limits;
  signal?: AbortSignal | undefined;
  /** What is known of files already; what is learnt is added. */
  probes?: Map<string, Promise<MediaInfo>> | undefined;
}

/**
 * Counts tokens before anything is decoded, from what the containers say.
 *
 * @throws what `probe()` throws, and InputError (MEDIA_TOO_LONG)
 */
export async function predictTokens(
  sources: readonly Source[],
  { config, tokenizer, limits, signal, probes = new Map() }: PredictOptions,
): Promise<Prediction> {
  checkSources(sources);
  const byModality = { text: 0, audio: 0, video: 0, separator: 0 };
  const spans: StartSpan[] = [];
  let exact = true;
  let seconds: number | undefined;
  let untimed = 0;
  for (const source of sources) {
    if (source.kind === "text") {
      const words = await readTextSource(source.input, signal ? { limits, signal } : { limits });
      let count = 0;
      if (tokenizer)
        for await (const ids of tokenizer.encodeStream(words, signal ? { signal } : {})) count += ids.length;
      byModality.text += count;
      if (count > 0) untimed++;
      continue;
    }
    if (!probes.has(source.path)) probes.set(source.path, probe(source.path, { limits, signal }));
    const info = await probes.get(source.path)!;
    const stream = chosenStream(info, source);
    const first = Math.max(source.options.start ?? 0, stream?.startSeconds ?? 0, 0);
    const duration = stream?.durationSeconds ?? info.durationSeconds;
    const isStill = stream?.kind === "image";
    if (duration === undefined && !isStill) {
      exact = false;
      continue;
    }
    const end = isStill
      ? 0
      : Math.min(source.options.end ?? Number.POSITIVE_INFINITY, (stream?.startSeconds ?? 0) + duration!);
    const length = Math.max(0, end - first);
    // As decoding has it: what the container says counts too.
    const whole = Math.min(source.options.end ?? Number.POSITIVE_INFINITY, info.durationSeconds ?? 0) - first;
    checkDuration(Math.max(length, whole), source.path, limits);
    seconds = Math.max(seconds ?? 0, end);
    if (source.kind === "audio" && config.inputs.audio) {
      const count = predictAudioTokens(length, { stack: config.inputs.audio.stack });
      byModality.audio += count;
      exact &&= countsSamples(info, stream);
      spans.push({ first, period: config.inputs.audio.stack * 0.01, count });
    } else if (source.kind === "video" && config.inputs.video) {
      const { tubelets, period, known } = predictTubelets(source, length, isStill, config.inputs.video.tubelet);
      exact &&= known;
      byModality.video += tubelets * patchesPerTubelet(config.inputs.video);
      spans.push({ first, period, count: tubelets });
    }
  }
  if (config.sequence.separators)
    byModality.separator = predictSeparators(spans, config.sequence.windowSeconds, untimed);
  const tokens = Object.values(byModality).reduce((a, b) => a + b, 0);
  return { tokens, exact, seconds, byModality };
}

/** Containers that keep a number of samples; the durations of others are rounded, and lossy codecs pad what they decode to. */
function countsSamples({ container }: MediaInfo, stream: StreamInfo | undefined): boolean {
  return /^(wav|w64|flac|aiff|caf|au)$/.test(container) && /^(pcm_|flac$)/.test(stream?.codec ?? "");
}

function predictTubelets(source: VideoSource, length: number, isStill: boolean, tubelet: number) {
  if (isStill) return { tubelets: 1, period: 0, known: true };
  const { sampling } = videoOptions(source);
  const frames = "count" in sampling ? sampling.count : Math.ceil(length * sampling.fps - 1e-9);
  const tubelets = Math.ceil(frames / tubelet);
  // Which frames exist at the grid's instants is only known after decoding.
  return { tubelets, period: tubelets > 0 ? length / tubelets : 0, known: false };
}
