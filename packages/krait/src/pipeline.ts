import { expected, InputError, type Limits } from "@krait/core";
import { type AudioPart, decode, type MediaInput, type MediaStream, pipeOf, probe, type VideoPart } from "@krait/media";
import type { EncoderConfig } from "@krait/nn";
import { polyphase } from "@krait/runtime";
import {
  audioTokenSource,
  economizeFrames,
  interleave,
  type LogMel,
  type SequencePart,
  type TextTokenizer,
  type TokenSource,
  textSource,
  videoTokenSource,
} from "@krait/tokenizers";
import type { Payload } from "./assemble.js";
import { keepsPace } from "./decoder-sharing.js";
import { onlySpeech } from "./only-speech.js";
import { readWords } from "./read-words.js";
import { type AudioSource, checkSources, type Source, streamOf, type VideoSource } from "./sources.js";
import { splitMedia } from "./split-media.js";

/** Looks on at what flows into the tokenizers, for pages and previews. */
export interface Taps {
  video?: (frame: VideoPart, source: VideoSource) => void | Promise<void>;
  audio?: (part: AudioPart, source: AudioSource) => void;
  text?: (words: string, name: string) => void;
  /** A line of subtitles, when it becomes tokens. */
  cue?: (cue: { start: number; end: number; text: string }) => void;
}

export interface PipelineOptions {
  config: EncoderConfig;
  /** The audio front end; absent when the model takes no audio. */
  logMel: LogMel | undefined;
  tokenizer: TextTokenizer | undefined;
  limits: Limits;
  /** Decoder threads. */
  threads?: number | undefined;
  taps?: Taps | undefined;
  signal?: AbortSignal | undefined;
}

/** Frames kept per second when a source does not say. */
export const DEFAULT_FPS = 2;

/** Media sources of one file and range share one decoder, so that the file is read once, unless they lie too far apart. */
interface Decoder {
  path: string;
  input: MediaInput;
  video?: { source: VideoSource; index: number };
  audio?: { source: AudioSource; index: number };
}

/**
 * Opens the sources and returns their one flat sequence. Decoders start when the first part is pulled and are gone when the
 * generator has ended, by exhaustion, error, return() or abort.
 */
export async function* openSequence(
  sources: readonly Source[],
  options: PipelineOptions,
): AsyncGenerator<SequencePart<Payload>, void, undefined> {
  const { config, signal } = options;
  checkSources(sources);
  const streams: MediaStream[] = [];
  try {
    const tokenSources = new Array<TokenSource<Payload>>(sources.length);
    for (const decoder of groupDecoders(sources)) {
      for (const one of await separate(decoder, options)) openDecoder(one, tokenSources, options, streams);
    }
    for (const [index, source] of sources.entries()) {
      if (source.kind !== "text") continue;
      if (!options.tokenizer) missingModality("text", source.name);
      const words = await readWords(source, options);
      if ("text" in words) options.taps?.text?.(words.text, source.name);
      const read = "text" in words ? words.text : watched(words.cues, options.taps?.cue);
      tokenSources[index] = textSource(options.tokenizer, read, signal ? { signal } : {}) as TokenSource<Payload>;
    }
    yield* interleave(tokenSources, {
      windowSeconds: config.sequence.windowSeconds,
      separators: config.sequence.separators,
      ...(config.sequence.order && { order: config.sequence.order }),
      ...(signal ? { signal } : {}),
    });
  } finally {
    await Promise.all(streams.map((s) => s.close()));
    // Also where nothing was decoded: an open pipe keeps the process alive.
    for (const source of sources) {
      const stream = streamOf(source);
      if (stream !== undefined) pipeOf(stream).close();
    }
  }
}

/** Which sources share a file and a range. */
export function groupDecoders(sources: readonly Source[]): Decoder[] {
  const decoders: Decoder[] = [];
  for (const [index, source] of sources.entries()) {
    if (source.kind === "text") continue;
    const partner = decoders.find((d) => {
      if (d.input !== source.input || d[source.kind]) return false;
      const other = (d.video ?? d.audio)!.source.options;
      return (["start", "end", "offset"] as const).every((name) => other[name] === source.options[name]);
    });
    const decoder = partner ?? { path: source.path, input: source.input };
    if (!partner) decoders.push(decoder);
    if (source.kind === "video") decoder.video = { source, index };
    else decoder.audio = { source, index };
  }
  return decoders;
}

/** Two decoders where the file's pictures and sound lie so far apart that one of them would pile up before the other. */
async function separate(decoder: Decoder, { config, limits, signal }: PipelineOptions): Promise<Decoder[]> {
  const { path, input, video, audio } = decoder;
  // A stream can be read once.
  if (!video || !audio || typeof input !== "string" || input === "-") return [decoder];
  const info = await probe(input, { limits, signal });
  const together = keepsPace(info, video.source, audio.source, config.inputs.video?.tubelet ?? 1);
  return together
    ? [decoder]
    : [
        { path, input, video },
        { path, input, audio },
      ];
}

/** What to do where pictures wait for sound that is long silent: two decoders read a file, but nothing reads a stream twice. */
export function pileUpHint({ input, audio }: Pick<Decoder, "input" | "audio">): { hint?: string } {
  const once = typeof input !== "string" || input === "-";
  if (!once || audio?.source.options.speech === undefined) return {};
  return {
    hint: "The pictures of a long silence wait for the next words, and a stream is read once: write it to a file first, which two decoders read, or leave out `speech`.",
  };
}

function openDecoder(
  decoder: Decoder,
  into: TokenSource<Payload>[],
  { config, logMel, limits, threads, taps, signal }: PipelineOptions,
  streams: MediaStream[],
): void {
  const { video, audio } = decoder;
  const inputs = config.inputs;
  if (video && !inputs.video) missingModality("video", decoder.path);
  if (audio && !logMel) missingModality("audio", decoder.path);
  const range = (video ?? audio)!.source.options;
  const stream = decode(decoder.input, {
    ...(video &&
      inputs.video && {
        video: { ...videoOptions(video.source), width: inputs.video.width, height: inputs.video.height },
      }),
    ...(audio && {
      audio: {
        sampleRate: 16000 as const,
        polyphase,
        ...(audio.source.options.stream !== undefined && { stream: audio.source.options.stream }),
      },
    }),
    ...(range.start !== undefined && { start: range.start }),
    ...(range.end !== undefined && { end: range.end }),
    ...(threads !== undefined && { threads }),
    limits,
    signal,
  });
  streams.push(stream);
  const { offset } = range;
  const parts = splitMedia(stream, pileUpHint(decoder));
  if (video && inputs.video) {
    const { width, height, patch, tubelet } = inputs.video;
    const { economy } = video.source.options;
    const frames = tap(shift(parts.video, offset), (frame) => taps?.video?.(frame, video.source));
    into[video.index] = videoTokenSource({
      parts: economy === undefined ? frames : economizeFrames(frames, { ...economy, signal }),
      width,
      height,
      patch,
      tubelet,
      signal,
    }) as TokenSource<Payload>;
  }
  if (audio && inputs.audio && logMel) {
    const { speech } = audio.source.options;
    const samples = tap(shift(parts.audio, offset), (part) => taps?.audio?.(part, audio.source));
    into[audio.index] = audioTokenSource({
      parts: speech === undefined ? samples : onlySpeech(samples, speech, signal),
      gaps: speech === undefined ? "refuse" : "restart",
      logMel,
      stack: inputs.audio.stack,
      signal,
    }) as TokenSource<Payload>;
  }
}

/** Sampling as the decoder takes it. */
export function videoOptions({ options }: VideoSource) {
  const { fps = DEFAULT_FPS, count, times, keyFrames, fit, stream } = options;
  const sampling =
    times !== undefined ? { times } : keyFrames ? ("key" as const) : count !== undefined ? { count } : { fps };
  return { sampling, fit, folderFps: fps, ...(stream !== undefined && { stream }) };
}

/** Moves a source's times beside those of the others. */
async function* shift<P extends VideoPart | AudioPart>(
  parts: AsyncIterable<P>,
  offset: number,
): AsyncGenerator<P, void, undefined> {
  for await (const part of parts) {
    if (offset === 0) yield part;
    else if (part.kind === "video") yield { ...part, start: part.start + offset, end: part.end + offset };
    else yield { ...part, start: part.start + offset };
  }
}

function* watched<C>(cues: Iterable<C>, look: ((cue: C) => void) | undefined): Generator<C, void, undefined> {
  for (const cue of cues) {
    look?.(cue);
    yield cue;
  }
}

async function* tap<P>(
  parts: AsyncIterable<P>,
  look: (part: P) => void | Promise<void>,
): AsyncGenerator<P, void, undefined> {
  for await (const part of parts) {
    await look(part);
    yield part;
  }
}

function missingModality(kind: string, name: string): never {
  throw new InputError(expected(`a model that takes ${kind}`, name, "one without"), {
    code: "MODALITY_UNSUPPORTED",
    hint: `The model's config.json has no inputs.${kind}: leave this source out or use another model.`,
  });
}
