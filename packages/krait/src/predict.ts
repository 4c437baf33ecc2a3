import type { Limits } from "@krait/core";
import { checkDuration, imageFolder, type MediaInfo, type MediaInput, probe, type StreamInfo } from "@krait/media";
import { type EncoderConfig, hasClassToken, patchesPerTubelet } from "@krait/nn";
import { predictAudioTokens, predictSeparators, type StartSpan, type TextTokenizer } from "@krait/tokenizers";
import { chosenStream } from "./decoder-sharing.js";
import { videoOptions } from "./pipeline.js";
import { readWords } from "./read-words.js";
import { checkSources, type Source, type TextSource, type VideoSource } from "./sources.js";

/** How long the flat sequence will be. */
export interface Prediction {
  tokens: number;
  /** Whether every count follows from what is known; false marks an estimate (video, lossy sound, unknown duration). */
  exact: boolean;
  /** Seconds of media, the longest source. */
  seconds: number | undefined;
  byModality: { text: number; audio: number; video: number; class: number; separator: number };
}

export interface PredictOptions {
  config: EncoderConfig;
  tokenizer: TextTokenizer | undefined;
  limits: Limits;
  signal?: AbortSignal | undefined;
  /** What is known of files already; what is learnt is added. */
  probes?: Map<MediaInput, Promise<MediaInfo>> | undefined;
}

/** How far apart key frames lie in most files; where they really lie is only known after reading it whole. */
const KEY_FRAME_SECONDS = 5;

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
  const byModality = { text: 0, audio: 0, video: 0, class: 0, separator: 0 };
  const spans: StartSpan[] = [];
  let exact = true;
  let seconds: number | undefined;
  let untimed = 0;
  for (const source of sources) {
    if (source.kind === "text") {
      const words = await countWords(source, { tokenizer, limits, signal });
      byModality.text += words.count;
      for (const span of words.spans) spans.push(span); // a million cues are too many arguments
      seconds = words.end === undefined ? seconds : Math.max(seconds ?? 0, words.end);
      if (!source.timed && words.count > 0) untimed++;
      continue;
    }
    if (!probes.has(source.input)) probes.set(source.input, probe(source.input, { limits, signal }));
    const info = await probes.get(source.input)!;
    const stream = chosenStream(info, source);
    const first = Math.max(source.options.start ?? 0, stream?.startSeconds ?? 0, 0);
    const duration =
      info.container === imageFolder && source.kind === "video"
        ? (stream?.frames ?? 0) / videoOptions(source).folderFps
        : (stream?.durationSeconds ?? info.durationSeconds);
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
    const { offset } = source.options;
    seconds = Math.max(seconds ?? 0, end + offset);
    if (source.kind === "audio" && config.inputs.audio) {
      const count = predictAudioTokens(length, { stack: config.inputs.audio.stack });
      byModality.audio += count;
      // Of a gated signal at most so many.
      exact &&= countsSamples(info, stream) && source.options.speech === undefined;
      spans.push({ first: first + offset, period: config.inputs.audio.stack * 0.01, count });
    } else if (source.kind === "video" && config.inputs.video) {
      const { tubelets, period, known } = predictTubelets(source, length, isStill, config.inputs.video.tubelet);
      exact &&= known;
      byModality.video += tubelets * patchesPerTubelet(config.inputs.video);
      spans.push({ first: first + offset, period, count: tubelets });
    }
  }
  if (config.sequence.separators)
    byModality.separator = predictSeparators(spans, config.sequence.windowSeconds, untimed);
  const sum = () => Object.values(byModality).reduce((a, b) => a + b, 0);
  // A sequence without tokens has no place for one.
  if (hasClassToken(config) && sum() > 0) byModality.class = 1;
  const tokens = sum();
  return { tokens, exact, seconds, byModality };
}

/** Tokens of a text, and where its cues begin and end. */
async function countWords(
  source: TextSource,
  { tokenizer, limits, signal }: Pick<PredictOptions, "tokenizer" | "limits" | "signal">,
): Promise<{ count: number; spans: StartSpan[]; end: number | undefined }> {
  const words = await readWords(source, { limits, signal });
  const spans: StartSpan[] = [];
  let total = 0;
  let end: number | undefined;
  if (!tokenizer) return { count: 0, spans, end };
  for (const cue of "text" in words ? [{ start: 0, end: 0, text: words.text }] : words.cues) {
    let count = 0;
    for await (const ids of tokenizer.encodeStream(cue.text, signal ? { signal } : {})) count += ids.length;
    total += count;
    if (!source.timed || count === 0) continue;
    spans.push({ first: cue.start, period: 0, count });
    end = Math.max(end ?? 0, cue.end);
  }
  return { count: total, spans, end };
}

/** Containers that keep a number of samples; the durations of others are rounded, and lossy codecs pad what they decode to. */
function countsSamples({ container }: MediaInfo, stream: StreamInfo | undefined): boolean {
  return /^(wav|w64|flac|aiff|caf|au)$/.test(container) && /^(pcm_|flac$)/.test(stream?.codec ?? "");
}

function predictTubelets(source: VideoSource, length: number, isStill: boolean, tubelet: number) {
  if (isStill) return { tubelets: 1, period: 0, known: true };
  const { sampling } = videoOptions(source);
  const frames =
    sampling === "key"
      ? Math.ceil(length / KEY_FRAME_SECONDS)
      : "times" in sampling
        ? new Set(sampling.times).size
        : "count" in sampling
          ? sampling.count
          : Math.ceil(length * sampling.fps - 1e-9);
  const tubelets = Math.ceil(frames / tubelet);
  // Which frames exist at the grid's instants is only known after decoding.
  return { tubelets, period: tubelets > 0 ? length / tubelets : 0, known: false };
}
