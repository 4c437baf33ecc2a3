import { availableParallelism } from "node:os";
import { limitsSchema, parseOptions } from "@krait/core";
import { imageFolder, type MediaInfo, type MediaInput } from "@krait/media";
import { attentionBytesPerToken, type EncoderConfig, openCheckpoint, planEncoderMemory, Stack } from "@krait/nn";
import { z } from "zod";
import { chosenStream } from "./decoder-sharing.js";
import { type LoadEncoderOptions, loadSchema, type ModelChoice, seeded } from "./encoder.js";
import { openTokenizer } from "./open-tokenizer.js";
import { DEFAULT_FPS, groupDecoders } from "./pipeline.js";
import { type Prediction, predictTokens } from "./predict.js";
import { checkSources, type Source } from "./sources.js";

const optionsSchema = loadSchema
  .pick({ threads: true, dtype: true, chunkTokens: true, maxTokens: true, slots: true, limits: true, signal: true })
  .extend({
    /** Sets this model's state beside the keys and values of a stack of full attention. */
    compare: z.literal("attention").optional(),
  });

export type EstimateOptions = Pick<
  LoadEncoderOptions,
  "threads" | "dtype" | "chunkTokens" | "maxTokens" | "slots" | "limits" | "signal"
> & {
  compare?: "attention" | undefined;
};

/** What an encoding will take; all sizes in bytes. */
export interface Estimate {
  tokens: number;
  /** Whether `tokens` is exact, see `Prediction`. */
  exact: boolean;
  byModality: Prediction["byModality"];
  /** Seconds of media, the longest source; 0 without media, undefined where a file does not say. */
  seconds: number | undefined;
  /** The sum of `memory`, on the host and a GPU together. It does not grow with the input, but for the states of full attention. */
  peakBytes: number;
  memory: {
    weights: number;
    /** Carried states of all slots. */
    states: number;
    /** Planned working memory of one run. */
    arena: number;
    /** Frames, samples and features on their way. */
    media: number;
    /** ffmpeg's own processes. */
    decoder: number;
    /** Node, the libraries and what its collector leaves lying for a while. */
    process: number;
  };
  /** With `compare`: one sequence of so many tokens. */
  comparison?: { tokens: number; stateBytes: number; keyValueBytes: number }[];
}

const MIB = 2 ** 20;
/** Node with this SDK, the kernels and oneDNN opened, before a model is loaded: measured on Linux with Node 20. */
const RUNTIME_BYTES = 97 * MIB;
/** What the collector lets lie: V8's young generation, three semi-spaces of 16 MiB. */
const COLLECTOR_BYTES = 3 * 16 * MIB;
/** An ffmpeg process that decodes a picture of no size: its libraries and buffers, measured with ffmpeg 5.1. */
const DECODER_BYTES = 59 * MIB;
/** Frames that a decoder holds: references and what it puts into order, and per thread the one in work and the one it stands on. */
const [FRAMES_KEPT, FRAMES_PER_THREAD] = [4, 2];
/** Of 4:2:0, the common pixel format, with the borders that motion vectors may point into. */
const BYTES_PER_PIXEL = 1.6;
const SAMPLE_RATE = 16000;

/**
 * Tells before the work what it will take: from the containers' headers and the planned program, without decoding, without weights on a device.
 *
 * @throws what `loadEncoder()` throws for a model and `predict()` for sources
 */
export async function estimate(
  model: ModelChoice,
  sources: readonly Source[],
  options: EstimateOptions = {},
): Promise<Estimate> {
  const parsed = parseOptions(optionsSchema, options, "estimate()");
  const { threads, dtype, chunkTokens, maxTokens, slots, compare, limits, signal } = parsed;
  checkSources(sources);
  const bounds = limits ?? limitsSchema.parse({});
  const folder = typeof model === "string" ? model : undefined;
  const checkpoint = typeof model === "string" ? await openCheckpoint(model, bounds, signal) : seeded(model);
  await checkpoint.close();
  const { config } = checkpoint;
  const tokenizer = config.inputs.text ? await openTokenizer(config.inputs.text, folder, bounds) : undefined;
  const probes = new Map<MediaInput, Promise<MediaInfo>>();
  const { tokens, exact, byModality, seconds } = await predictTokens(sources, {
    config,
    tokenizer,
    limits: bounds,
    signal,
    probes,
  });
  // Full attention takes what it is given room for, or what these sources need.
  const planned = planEncoderMemory(config, {
    dtype,
    maxTokens: chunkTokens,
    contextTokens: maxTokens ?? tokens,
    slots,
  });
  // Read twice at a time: held at the first run's tokens while all are counted.
  const isMiddle = config.sequence.classToken === "middle";
  const counts = isMiddle && !exact && tokens > chunkTokens && new Stack(config.stack).isCausal;
  const decoder = await decoderBytes(sources, probes, threads);
  const memory = {
    weights: planned.weightBytes,
    states: planned.stateBytes * slots,
    arena: planned.arenaBytes,
    media: mediaBytes(sources, config, chunkTokens),
    decoder: counts ? 2 * decoder : decoder,
    process: RUNTIME_BYTES + COLLECTOR_BYTES,
  };
  return {
    tokens,
    exact,
    byModality,
    seconds: seconds ?? (sources.every(({ kind }) => kind === "text") ? 0 : undefined),
    peakBytes: Object.values(memory).reduce((a, b) => a + b, 0),
    memory,
    ...(compare && { comparison: compareAttention(config, dtype) }),
  };
}

/** From 1k to 1M tokens. */
function compareAttention(config: EncoderConfig, dtype: "f32" | "bf16") {
  const perToken = attentionBytesPerToken(config, dtype);
  return [10, 12, 14, 16, 18, 20].map((power) => {
    const tokens = 2 ** power;
    const { stateBytes } = planEncoderMemory(config, { dtype, slots: 1, contextTokens: tokens });
    return { tokens, stateBytes, keyValueBytes: tokens * perToken };
  });
}

/** One process for each file and range; wav files and images, also folders of them, are read without. */
async function decoderBytes(
  sources: readonly Source[],
  probes: ReadonlyMap<MediaInput, Promise<MediaInfo>>,
  threads: number | undefined,
): Promise<number> {
  let bytes = 0;
  for (const { input, video } of groupDecoders(sources)) {
    const info = await probes.get(input);
    if (!info || info.container === "wav" || info.container === imageFolder) continue;
    if (info.streams.every(({ kind }) => kind === "image")) continue;
    bytes += DECODER_BYTES;
    const { width = 0, height = 0 } = (video && chosenStream(info, video.source)) ?? {};
    // ffmpeg's own choice is a thread more than there are cores, up to 16.
    const frames = FRAMES_KEPT + FRAMES_PER_THREAD * (threads ?? Math.min(16, availableParallelism() + 1));
    bytes += width * height * BYTES_PER_PIXEL * frames;
  }
  return Math.ceil(bytes);
}

/** One window of every source, as decoded and as tokens, the chunks being filled and run, and features on their way out. */
function mediaBytes(sources: readonly Source[], config: EncoderConfig, chunkTokens: number): number {
  const { video, audio } = config.inputs;
  const { windowSeconds, classToken } = config.sequence;
  // To find the middle, those of another are held.
  const chunks = classToken === "middle" ? 3 : 2;
  let bytes = 2 * chunkTokens * config.stack.width * Float32Array.BYTES_PER_ELEMENT;
  for (const source of sources) {
    if (source.kind === "video" && video) {
      const frame = video.width * video.height * 3;
      // A number of frames over an unknown length, and times, may all fall into one window.
      const { fps = DEFAULT_FPS, times, count = times?.length } = source.options;
      const frames = count ?? fps * windowSeconds;
      const patches = (video.width / video.patch) * (video.height / video.patch);
      const inChunk = (Math.ceil(chunkTokens / patches) + 1) * video.tubelet;
      bytes += frame * (2 * (Math.ceil(frames) + video.tubelet) + chunks * inChunk);
    } else if (source.kind === "audio" && audio) {
      const samples = SAMPLE_RATE * windowSeconds * Float32Array.BYTES_PER_ELEMENT;
      bytes += 2 * samples + chunks * chunkTokens * audio.stack * audio.melBins * Float32Array.BYTES_PER_ELEMENT;
    }
  }
  return Math.ceil(bytes);
}
