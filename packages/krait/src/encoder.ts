import {
  type Closable,
  expected,
  InputError,
  type Limits,
  type LimitsInput,
  limitsSchema,
  type ProgressListener,
  parseOptions,
  throwIfAborted,
  UsageError,
} from "@krait/core";
import {
  type EncoderConfig,
  EncoderModel,
  openCheckpoint,
  parseEncoderConfig,
  type Session,
  type Snapshot,
  seededWeights,
} from "@krait/nn";
import { type Device, openDevice } from "@krait/runtime";
import { createLogMel, type LogMel, type TextTokenizer } from "@krait/tokenizers";
import { z } from "zod";
import { assembleChunks } from "./assemble.js";
import { checkPool, checkSessionClass, classTokenOf, openWholeSequence } from "./class-token.js";
import { type FeaturePart, type Features, joinParts } from "./features.js";
import { openTokenizer } from "./open-tokenizer.js";
import type { Taps } from "./pipeline.js";
import { createPooler, type Pool, type Pooler, type PoolerState, poolParts, poolSchema } from "./pool.js";
import { type Prediction, predictTokens } from "./predict.js";
import { builtInConfig, seededDigest } from "./random-encoder.js";
import { runChunks, runWhole } from "./run-chunks.js";
import type { Source } from "./sources.js";

/** @internal */
export const loadSchema = z.strictObject({
  device: z.enum(["auto", "cpu", "cuda"]).default("auto"),
  /** Which CUDA device. */
  index: z.number().int().min(0).default(0),
  /** CPU threads, shared by kernels and decoder. */
  threads: z.number().int().positive().max(1024).optional(),
  dtype: z.enum(["f32", "bf16"]).default("f32"),
  /** Tokens per native run: more is faster and takes more memory. */
  chunkTokens: z
    .number()
    .int()
    .min(1)
    .max(1 << 20)
    .default(2048),
  /** Most tokens of one sequence: what an encoder with full attention keeps keys and values for. Others need no bound. */
  maxTokens: z
    .number()
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .optional(),
  /** Sequences that may be open at a time. */
  slots: z.number().int().positive().max(65536).default(4),
  limits: limitsSchema.optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

export type LoadEncoderOptions = Omit<z.input<typeof loadSchema>, "limits" | "signal"> & {
  limits?: LimitsInput | undefined;
  signal?: AbortSignal | undefined;
};

/** A model: the folder of a saved one, or random weights after a seed (with the built-in config, or one of your own). */
export type ModelChoice = string | { seed: number; config?: unknown };

/** What is known of the weights in use. */
export interface ModelIdentity {
  name: string;
  /** True when the weights are random: features then carry no learned meaning. */
  random: boolean;
  seed?: number;
  sha256: string;
  layout: string;
}

export interface EncodeOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ProgressListener | undefined;
  /** Bytes that encode() may return. */
  maxResultBytes?: number | undefined;
  /** Looks on at frames, samples and text. */
  taps?: Taps | undefined;
  /**
   * What a row stands for: each token (default); "frame", the mean of a tubelet's patches or of a text without times; seconds, the mean
   * per window of that length and modality; or "class", the class token alone.
   */
  pool?: Pool | undefined;
  /** The sequence to go on with; a new one when absent. */
  session?: Session | undefined;
}

/** Where a run can go on in another process. @internal */
export interface RunState {
  /** Tokens encoded. */
  tokens: number;
  /** Tokens of the whole sequence without its class token, where they were counted. */
  length: number | undefined;
  snapshot: Snapshot;
  pooler: PoolerState | undefined;
}

/** @internal */
export interface StreamInternals {
  /** Goes on behind the tokens of an earlier run: the sources are read again up to there. */
  from?: RunState | undefined;
  /** Asked now and then; `take` is called when all that was given out has been taken in. */
  checkpoint?: { due(): boolean; take(state: RunState): Promise<void> } | undefined;
  /** Looks on at the tokens, before they are pooled. */
  onTokens?: ((part: FeaturePart) => void) | undefined;
}

/**
 * Loads an encoder on a device.
 *
 *     const encoder = await loadEncoder({ seed: 0 });
 *     const features = await encoder.encode([video("talk.mp4"), audio("talk.mp4"), text("What is promised?")]);
 *
 * @throws InputError for a folder that holds no valid model, EnvironmentError for a device that cannot serve
 */
export async function loadEncoder(model: ModelChoice, options: LoadEncoderOptions = {}): Promise<Encoder> {
  const {
    device: kind,
    index,
    threads,
    dtype,
    chunkTokens,
    maxTokens,
    slots,
    limits,
    signal,
  } = parseOptions(loadSchema, options, "loadEncoder()");
  const bounds = limits ?? limitsSchema.parse({});
  throwIfAborted(signal, "loading the encoder");
  const checkpoint = typeof model === "string" ? await openCheckpoint(model, bounds, signal) : seeded(model);
  const identity: ModelIdentity =
    typeof model === "string"
      ? { name: model, random: false, sha256: checkpoint.sha256, layout: describeLayout(checkpoint.config) }
      : {
          name: "built-in random encoder",
          random: true,
          seed: model.seed,
          sha256: checkpoint.sha256,
          layout: describeLayout(checkpoint.config),
        };
  let device: Device | undefined;
  let frontEnds: Device | undefined;
  try {
    const { config } = checkpoint;
    const folder = typeof model === "string" ? model : undefined;
    const tokenizer = config.inputs.text ? await openTokenizer(config.inputs.text, folder, bounds) : undefined;
    device = await openDevice({ device: kind, index, ...(threads !== undefined && { threads }) });
    const native = await EncoderModel.create(device, config, checkpoint.weights, {
      dtype,
      maxTokens: chunkTokens,
      contextTokens: maxTokens,
      slots,
      signal,
    });
    // A queue of their own on a GPU, and before the encoder's: a few mel frames for the next chunk need not wait until this one is encoded.
    if (config.inputs.audio && device.kind === "cuda") {
      frontEnds = await openDevice({ device: "cuda", index, priority: "high" });
    }
    const logMel = config.inputs.audio
      ? await createLogMel(frontEnds ?? device, frontEnd(config.inputs.audio))
      : undefined;
    return new Encoder(device, native, tokenizer, logMel, identity, bounds, threads, frontEnds);
  } catch (error) {
    await Promise.all([device?.close(), frontEnds?.close()]);
    throw error;
  } finally {
    await checkpoint.close();
  }
}

function frontEnd({ melBins, normalization }: NonNullable<EncoderConfig["inputs"]["audio"]>) {
  return { melBins, normalization };
}

function describeLayout({ stack }: EncoderConfig): string {
  return `${typeof stack.layout === "string" ? stack.layout : stack.layout.join(" ")}, width ${stack.width}`;
}

/** @internal */
export function seeded(model: Exclude<ModelChoice, string>) {
  if (!Number.isSafeInteger(model?.seed) || model.seed < 0) {
    throw new UsageError(expected("a folder or { seed }", "loadEncoder()", model), {
      code: "INVALID_OPTION",
      hint: "Give the folder of a model, or { seed: 0 } for random weights.",
    });
  }
  const config = model.config === undefined ? builtInConfig : parseEncoderConfig(model.config);
  return {
    config,
    weights: seededWeights(model.seed),
    sha256: seededDigest(config, model.seed),
    close: async () => {},
  };
}

/** An encoder on a device. Sequences run one chunk at a time; memory does not grow with their length. */
export class Encoder implements Closable {
  private closed = false;
  /** Sessions that a stream goes on with: the chunks of two would mix. */
  private readonly streaming = new WeakSet<Session>();

  /** @internal */
  constructor(
    readonly device: Device,
    private readonly native: EncoderModel,
    private readonly tokenizer: TextTokenizer | undefined,
    private readonly logMel: LogMel | undefined,
    readonly model: ModelIdentity,
    /** Bounds on what one input may ask. */
    readonly limits: Limits,
    private readonly threads: number | undefined,
    private readonly frontEnds: Device | undefined,
  ) {}

  get config(): EncoderConfig {
    return this.native.config;
  }

  /** Numbers per token. */
  get dim(): number {
    return this.native.dim;
  }

  /** Tokens per native run. */
  get chunkTokens(): number {
    return this.native.maxTokens;
  }

  /** Counts tokens before anything is decoded. */
  predict(sources: readonly Source[], { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Prediction> {
    return predictTokens(sources, { config: this.config, tokenizer: this.tokenizer, limits: this.limits, signal });
  }

  /**
   * A sequence of its own: it can be snapshot, restored and forked, and goes on from call to call of `stream()`.
   *
   * @throws UsageError (CLASS_TOKEN_SESSION) for a model whose class token stands in the middle of a sequence or last
   */
  async open(): Promise<Session> {
    checkSessionClass(this.config);
    return this.native.open();
  }

  /**
   * All features at once. For inputs of any length use `stream()`.
   *
   * @throws InputError (RESULT_TOO_LARGE) when they would take more than `maxResultBytes`
   */
  async encode(sources: readonly Source[], options: EncodeOptions = {}): Promise<Features> {
    const limit = options.maxResultBytes ?? this.limits.maxResultBytes;
    if (!(limit > 0)) {
      throw new UsageError(expected("a positive number of bytes", "encode() maxResultBytes", limit), {
        code: "INVALID_OPTION",
        hint: "Leave it out for the default of 1 GiB.",
      });
    }
    const parts: FeaturePart[] = [];
    let bytes = 0;
    for await (const part of this.stream(sources, options)) {
      bytes += part.features.byteLength;
      if (bytes > limit) {
        throw new InputError(expected(`at most ${limit} bytes`, "the result of encode()", `${bytes} bytes and more`), {
          code: "RESULT_TOO_LARGE",
          hint: "Use stream(), which returns features in parts, or raise maxResultBytes.",
        });
      }
      parts.push(part);
    }
    return joinParts(parts, this.dim, options.signal);
  }

  /**
   * Features in parts of at most `chunkTokens` tokens (pooled: in rows as they are complete), in the order of the sequence. While one
   * part is computed the next is decoded and tokenized; nothing is read ahead of a consumer that holds back by more than that.
   *
   * @throws UsageError (NOT_CAUSAL) where a layer looks ahead and the sequence does not fit into one chunk, or a session is given,
   * (POOL_ORDER) for `pool: "frame"` in temporal order, (POOL_CLASS) for `pool: "class"` without a class token that has seen the sequence,
   * (LENGTH_UNKNOWN) for a class token in the middle of a stream longer than a chunk
   */
  async *stream(sources: readonly Source[], options: EncodeOptions = {}): AsyncGenerator<FeaturePart, void, undefined> {
    yield* this.streamFrom(sources, options, {});
  }

  /** `stream()` that can be left in one process and gone on with in another. @internal */
  async *streamFrom(
    sources: readonly Source[],
    options: EncodeOptions,
    internals: StreamInternals,
  ): AsyncGenerator<FeaturePart, void, undefined> {
    const { from } = internals;
    const pool = parseOptions(poolSchema.default("token"), options.pool, "the option pool");
    checkPool(pool, this.config, !this.native.stack.isCausal);
    const pooler = pool === "token" ? undefined : createPooler(pool, this.config.sequence.windowSeconds);
    if (from?.pooler) pooler?.restore(from.pooler);
    const tokens = this.streamTokens(sources, options, internals, pooler);
    if (pooler) yield* poolParts(tokens, pooler);
    else yield* tokens;
  }

  private async *streamTokens(
    sources: readonly Source[],
    options: EncodeOptions,
    { from, checkpoint, onTokens }: StreamInternals,
    pooler: Pooler | undefined,
  ): AsyncGenerator<FeaturePart, void, undefined> {
    const { signal, onProgress, taps } = options;
    throwIfAborted(signal, "encoding");
    if (this.closed) {
      throw new UsageError(expected("an open encoder", "stream()", "one that is closed"), {
        code: "CLOSED",
        hint: "Load it again with loadEncoder().",
      });
    }
    if (options.session || from) this.native.stack.expectCausal("a sequence to go on with");
    let done = from?.tokens ?? 0;
    const config = { ...this.config, sequence: { ...this.config.sequence } };
    config.sequence.classToken = classTokenOf(config, options.session?.position ?? 0);
    const needsLength = config.sequence.classToken === "middle" && this.native.stack.isCausal;
    const { tokenizer, logMel, limits, threads } = this;
    const prediction =
      onProgress || needsLength ? await predictTokens(sources, { config, tokenizer, limits, signal }) : undefined;
    const report = onProgress && prediction ? reporter(prediction, onProgress, done) : undefined;
    const session = await this.sessionFor(options);
    // A GPU begins the next chunk while this one's features are taken in. A caller's own session stays at the tokens that were given out.
    const depth = this.device.kind === "cuda" && !options.session ? 2 : 1;
    // Whoever leaves the loop does not wait for the chunk that is being decoded.
    const leaving = new AbortController();
    const onAbort = () => leaving.abort(signal?.reason);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    const length = { tokens: from?.length };
    const sequence = openWholeSequence(
      sources,
      { config, logMel, tokenizer, limits, threads, taps, signal: leaving.signal },
      {
        chunkTokens: this.native.maxTokens,
        looksAhead: !this.native.stack.isCausal,
        prediction,
        length,
        onCount: report?.counted,
      },
    );
    let kept = done;
    const pause = checkpoint &&
      session && {
        due: () => done > kept && checkpoint.due(),
        take: async () => {
          kept = done;
          const snapshot = await session.snapshot();
          await checkpoint.take({ tokens: done, length: length.tokens, snapshot, pooler: pooler?.save() });
        },
      };
    const chunks = assembleChunks(sequence, this.config, this.native.maxTokens, done);
    const parts = session
      ? runChunks(this.native, chunks, { session, depth, signal, pause })
      : runWhole(this.native, chunks, signal);
    try {
      if (from) await session?.restore(from.snapshot);
      // By hand: a for-await that is left would wait for `parts` before the decoder hears of it.
      for (;;) {
        const { value: part } = await parts.next();
        if (!part) return;
        done += part.count;
        report?.encoded(part);
        onTokens?.(part);
        yield part;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      leaving.abort();
      await parts.return();
      await sequence.return();
      if (session) this.streaming.delete(session);
      if (!options.session) session?.close();
    }
  }

  /** None for a stack that looks ahead: its sequences are run whole. */
  private async sessionFor({ session }: EncodeOptions): Promise<Session | undefined> {
    if (session) return this.claim(session);
    return this.native.stack.isCausal ? this.native.open() : undefined;
  }

  /** Cancels what runs and frees the device. */
  async close(): Promise<void> {
    this.closed = true;
    this.logMel?.close();
    this.native.close();
    await Promise.all([this.device.close(), this.frontEnds?.close()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private claim(session: Session): Session {
    if (this.streaming.has(session)) {
      throw new UsageError(expected("a session that is ready", "stream()", "one that another stream goes on with"), {
        code: "SESSION_NOT_READY",
        hint: "End the stream before, or fork() the session.",
      });
    }
    this.streaming.add(session);
    return session;
  }
}

/** Tells a listener how far the encoding of a sequence is, or the counting of its tokens before. */
function reporter(prediction: Prediction, listener: ProgressListener, done: number) {
  const begun = performance.now();
  let tokens = done;
  let mediaSeconds = 0;
  const emit = (stage: "count" | "encode", at: { tokens: number; mediaSeconds: number }) =>
    listener({
      stage,
      ...at,
      totalTokens: prediction.tokens,
      elapsedSeconds: (performance.now() - begun) / 1000,
      ...(prediction.seconds !== undefined && { totalMediaSeconds: prediction.seconds }),
    });
  emit("encode", { tokens, mediaSeconds });
  return {
    counted: (counted: number, seconds: number) => emit("count", { tokens: counted, mediaSeconds: seconds }),
    encoded(part: FeaturePart) {
      tokens += part.count;
      for (let i = 0; i < part.count; i++) if (part.end[i]! > mediaSeconds) mediaSeconds = part.end[i]!;
      emit("encode", { tokens, mediaSeconds });
    },
  };
}
