import {
  type Closable,
  dtypeSize,
  expected,
  InputError,
  KraitError,
  parseOptions,
  type TypedArray,
  UsageError,
} from "@krait/core";
import type { Device } from "@krait/runtime";
import { z } from "zod";
import { embeddingParameters, embedTokens, inputsSchema } from "./embeddings.js";
import { Model, type ModelBuilder, type ModelMemory, type ModelOptions, planMemory } from "./model.js";
import type { Session } from "./session.js";
import { Stack, stackSchema } from "./stack.js";
import type { WeightSource } from "./weights.js";

const classTokens = ["none", "first", "middle", "last"] as const;
/** Where the class token of an encoder stands. */
export type ClassToken = (typeof classTokens)[number];

/** config.json of an encoder. */
export const encoderConfigSchema = z.strictObject({
  model_type: z.literal("krait_encoder"),
  version: z.literal(1),
  inputs: inputsSchema,
  sequence: z
    .strictObject({
      /** Seconds; sources take turns within windows of this length. */
      windowSeconds: z.number().positive().max(3600).default(2),
      separators: z.boolean().default(true),
      /** Of the pictures in a window: picture by picture (the default), or place by place, each through time. */
      order: z.enum(["spatial", "temporal"]).optional(),
      /** One learned token in the whole sequence: none (the default), before all tokens, in their middle, or behind them. */
      classToken: z.enum(classTokens).optional(),
    })
    .prefault({}),
  stack: stackSchema,
});
export type EncoderConfig = z.output<typeof encoderConfigSchema>;
export type EncoderConfigInput = z.input<typeof encoderConfigSchema>;

/** Parses and checks a config. Throws `UsageError` (INVALID_OPTION, INVALID_LAYOUT, INVALID_CONFIG). */
export function parseEncoderConfig(value: unknown, name = "the encoder's config"): EncoderConfig {
  const config = parseOptions(encoderConfigSchema, value, name);
  new Stack(config.stack);
  const { video, audio, text } = config.inputs;
  if (!video && !audio && !text) {
    throw new UsageError(expected("at least one of video, audio and text", `${name} inputs`, config.inputs), {
      code: "INVALID_CONFIG",
      hint: "An encoder takes at least one modality.",
    });
  }
  for (const side of ["width", "height"] as const) {
    if (video && video[side] % video.patch !== 0) {
      throw new UsageError(
        expected(`a multiple of patch ${video.patch}`, `${name} inputs.video.${side}`, video[side]),
        {
          code: "INVALID_CONFIG",
          hint: "Frames are cut into whole patches.",
        },
      );
    }
  }
  if (video?.std.some((s) => s === 0)) {
    throw new UsageError(expected("numbers other than 0", `${name} inputs.video.std`, video.std), {
      code: "INVALID_CONFIG",
      hint: "Pixels are divided by std.",
    });
  }
  return config;
}

/** As `parseEncoderConfig`, for a file: the same faults are the file's, not the caller's. */
export function parseEncoderConfigFile(value: unknown, path: string): EncoderConfig {
  try {
    return parseEncoderConfig(value, path);
  } catch (error) {
    if (!KraitError.is(error) || error.kind !== "usage") throw error;
    const hint = error.hint ?? "";
    throw new InputError(error.message, {
      code: error.code === "INVALID_OPTION" ? "INVALID_CONFIG" : error.code,
      hint,
      cause: error,
    });
  }
}

/** A chunk of one sequence, or of several packed ones, as the program takes it. */
export interface EncoderChunk {
  /** Tokens per sequence. */
  lengths: readonly number[];
  /** Tubelets [V, tubelet, height, width, 3], RGB. */
  frames: Uint8Array;
  /** Stacked mel frames [A, stack · melBins]. */
  mel: Float32Array;
  textIds: Int32Array;
  /**
   * Per token, its row among all rows of the chunk: first the patches of all tubelets, then the mel rows, then the text ids, then
   * the one row of zeros that separators and the class token have.
   */
  rows: Int32Array;
  /** Per token, one of `modalityRows`. */
  modality: Int32Array;
}

/** Whether the sequences of an encoder hold a class token. */
export function hasClassToken({ sequence }: EncoderConfig): boolean {
  return (sequence.classToken ?? "none") !== "none";
}

function encoderProgram(config: EncoderConfig, modelDtype: "f32" | "bf16" = "f32") {
  const stack = new Stack(config.stack);
  const { parameters, states } = stack.blueprint();
  const hasClass = hasClassToken(config);
  const blueprint = {
    parameters: [...embeddingParameters(config.inputs, stack.width, hasClass), ...parameters],
    states,
  };
  const outDtype = stack.streamDType(modelDtype);
  const build = ({ graph, tokens, maxTokens, dtype, tensors, context }: ModelBuilder) => {
    const x = embedTokens(config.inputs, { graph, tensors, tokens, maxTokens, dtype, outDtype, hasClass });
    graph.output("features", stack.forward(graph, x, context, tensors, dtype));
  };
  return { stack, blueprint, outDtype, build };
}

/** What `EncoderModel.create` would take on its device, without one. */
export function planEncoderMemory(config: EncoderConfig, options: ModelOptions = {}): ModelMemory {
  const { blueprint, build } = encoderProgram(config, options.dtype);
  return planMemory("encoder", blueprint, build, options);
}

/**
 * Bytes of keys and values that each token adds in a stack of the same width in which every mixer is full attention, with this config's
 * heads.
 */
export function attentionBytesPerToken({ stack: options }: EncoderConfig, dtype: "f32" | "bf16" = "f32"): number {
  const { layers, width } = new Stack(options);
  // Kinds that carry a state as they are by default; one that looks ahead carries none here.
  const shell = { width, layerCount: layers.length };
  const mixers = layers.filter(({ kind }) => kind.states(kind.schema.parse({}), shell).length > 0);
  const { windowAhead: _, ...heads } = options.attention;
  const attention = { ...heads, window: "full", direction: "causal", globalTokens: 0 } as const;
  const { states } = new Stack({ ...options, layout: mixers.map(() => "A"), attention }).blueprint();
  return states
    .filter(({ name }) => /\.(keys|values)$/.test(name))
    .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, dtypeSize(dtype)), 0);
}

/** Video, audio and text tokens of one flat sequence to features: the native part of an encoder. */
export class EncoderModel implements Closable {
  private constructor(
    readonly config: EncoderConfig,
    readonly stack: Stack,
    private readonly model: Model,
    private readonly separatorRow: TypedArray,
    private readonly hasRoom: boolean,
  ) {}

  static async create(
    device: Device,
    config: EncoderConfig,
    source: WeightSource,
    options: ModelOptions = {},
  ): Promise<EncoderModel> {
    const { stack, blueprint, outDtype, build } = encoderProgram(config, options.dtype);
    const model = await Model.create(device, "encoder", blueprint, source, build, options);
    const zeros = outDtype === "f32" ? new Float32Array(stack.width) : new Uint16Array(stack.width);
    return new EncoderModel(config, stack, model, zeros, options.contextTokens !== undefined);
  }

  get dim(): number {
    return this.stack.width;
  }

  get maxTokens(): number {
    return this.model.maxTokens;
  }

  get stateBytes(): number {
    return this.model.stateBytes;
  }

  get arenaBytes(): number {
    return this.model.arenaBytes;
  }

  /**
   * A new sequence with a zero state.
   *
   * @throws UsageError (NO_FREE_SLOT; NOT_CAUSAL where a layer looks ahead; STATE_GROWS for a stack with full attention that was loaded
   * without room for its tokens)
   */
  async open(): Promise<Session> {
    this.stack.expectCausal("open()");
    if (this.stack.stateGrowth === "linear" && !this.hasRoom) {
      throw new UsageError(expected("maxTokens", "an encoder with full attention", undefined), {
        code: "STATE_GROWS",
        hint: "Its keys and values grow with every token: loadEncoder(model, { maxTokens }) keeps room for as many. A window needs none.",
      });
    }
    return this.model.open();
  }

  /**
   * @param queued as `ModelRun.queued`
   * @returns features [T, dim] of the chunk's tokens, in order
   */
  async run(
    chunk: EncoderChunk,
    sessions: readonly (Session | undefined)[] = [],
    signal?: AbortSignal,
    queued = false,
  ): Promise<Float32Array> {
    const { video, audio, text } = this.config.inputs;
    const inputs: Record<string, TypedArray> = {
      rows: chunk.rows,
      modality: chunk.modality,
      separator: this.separatorRow,
    };
    const symbols: Record<string, number> = {};
    if (video) {
      symbols.V = chunk.frames.length / (video.tubelet * video.height * video.width * 3);
      inputs.frames = chunk.frames;
      inputs.pixelScale = Float32Array.from(video.std, (s) => 1 / (255 * s));
      inputs.pixelShift = Float32Array.from(video.std, (s, c) => -video.mean[c]! / s);
    }
    if (audio) {
      symbols.A = chunk.mel.length / (audio.stack * audio.melBins);
      inputs.mel = chunk.mel;
    }
    if (text) {
      symbols.X = chunk.textIds.length;
      inputs.textIds = chunk.textIds;
    }
    const { features } = await this.model.run({ lengths: chunk.lengths, sessions, symbols, inputs, signal, queued });
    return features as Float32Array;
  }

  close(): void {
    this.model.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
