import { expected, InputError, type Limits } from "@krait/core";
import { type AudioPart, decode, type MediaStream, probe, type VideoPart } from "@krait/media";
import type { EncoderConfig } from "@krait/nn";
import {
  audioTokenSource,
  interleave,
  type LogMel,
  readTextSource,
  type SequencePart,
  type TextTokenizer,
  type TokenSource,
  textSource,
  videoTokenSource,
} from "@krait/tokenizers";
import type { Payload } from "./assemble.js";
import { keepsPace } from "./decoder-sharing.js";
import { type AudioSource, checkSources, type Source, type VideoSource } from "./sources.js";
import { splitMedia } from "./split-media.js";

/** Looks on at what flows into the tokenizers, for pages and previews. */
export interface Taps {
  video?: (frame: VideoPart, source: VideoSource) => void | Promise<void>;
  audio?: (part: AudioPart, source: AudioSource) => void;
  text?: (words: string, name: string) => void;
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
      const words = await readTextSource(
        source.input,
        signal ? { limits: options.limits, signal } : { limits: options.limits },
      );
      options.taps?.text?.(words, source.name);
      tokenSources[index] = textSource(options.tokenizer, words, signal ? { signal } : {}) as TokenSource<Payload>;
    }
    yield* interleave(tokenSources, {
      windowSeconds: config.sequence.windowSeconds,
      separators: config.sequence.separators,
      ...(signal ? { signal } : {}),
    });
  } finally {
    await Promise.all(streams.map((s) => s.close()));
  }
}

/** Which sources share a file and a range. */
export function groupDecoders(sources: readonly Source[]): Decoder[] {
  const decoders: Decoder[] = [];
  for (const [index, source] of sources.entries()) {
    if (source.kind === "text") continue;
    const partner = decoders.find((d) => {
      if (d.path !== source.path || d[source.kind]) return false;
      const other = (d.video ?? d.audio)!.source.options;
      return other.start === source.options.start && other.end === source.options.end;
    });
    const decoder = partner ?? { path: source.path };
    if (!partner) decoders.push(decoder);
    if (source.kind === "video") decoder.video = { source, index };
    else decoder.audio = { source, index };
  }
  return decoders;
}

/** Two decoders where the file's pictures and sound lie so far apart that one of them would pile up before the other. */
async function separate(decoder: Decoder, { config, limits, signal }: PipelineOptions): Promise<Decoder[]> {
  const { path, video, audio } = decoder;
  if (!video || !audio) return [decoder];
  const info = await probe(path, { limits, signal });
  const together = keepsPace(info, video.source, audio.source, config.inputs.video?.tubelet ?? 1);
  return together
    ? [decoder]
    : [
        { path, video },
        { path, audio },
      ];
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
  const stream = decode(decoder.path, {
    ...(video &&
      inputs.video && {
        video: { ...videoOptions(video.source), width: inputs.video.width, height: inputs.video.height },
      }),
    ...(audio && {
      audio: {
        sampleRate: 16000 as const,
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
  const parts = splitMedia(stream);
  if (video && inputs.video) {
    const { width, height, patch, tubelet } = inputs.video;
    into[video.index] = videoTokenSource({
      parts: tap(parts.video, (frame) => taps?.video?.(frame, video.source)),
      width,
      height,
      patch,
      tubelet,
      signal,
    }) as TokenSource<Payload>;
  }
  if (audio && inputs.audio && logMel) {
    into[audio.index] = audioTokenSource({
      parts: tap(parts.audio, (part) => taps?.audio?.(part, audio.source)),
      logMel,
      stack: inputs.audio.stack,
      signal,
    }) as TokenSource<Payload>;
  }
}

/** Sampling as the decoder takes it. */
export function videoOptions({ options }: VideoSource) {
  const sampling = options.count !== undefined ? { count: options.count } : { fps: options.fps ?? DEFAULT_FPS };
  return { sampling, fit: options.fit, ...(options.stream !== undefined && { stream: options.stream }) };
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
