import { join } from "node:path";
import { type Closable, defaultLimits, expected, InputError, parseOptions, UsageError } from "@krait/core";
import {
  type CausalModel,
  Generation,
  type GenerationOptions,
  type GenerationSnapshot,
  loadCausalModel,
  loadProjector,
  Projector,
  type PromptInput,
  seededWeights,
} from "@krait/nn";
import { type Device, openDevice } from "@krait/runtime";
import { createTextTokenizer, type TextTokenizer } from "@krait/tokenizers";
import { z } from "zod";
import { Encoder } from "../encoder.js";
import { poolSchema } from "../pool.js";
import type { Source } from "../sources.js";
import { type MediaReader, readPrompt } from "./media-prompt.js";
import { publishedOptions } from "./published-options.js";
import { StopStrings } from "./stop-strings.js";

const loadSchema = z.strictObject({
  ...publishedOptions,
  /** Tokens that attention layers keep keys and values for; models without attention have no limit. */
  contextTokens: z
    .int()
    .positive()
    .max(1 << 20)
    .default(4096),
  /** Tokens per native run. */
  chunkTokens: z
    .int()
    .positive()
    .max(1 << 20)
    .default(512),
  /** Prompts that are continued side by side; more wait for their turn. */
  slots: z.int().positive().max(4096).default(8),
  /** Path of a tokenizer.json, or "bytes"; the model folder's own when absent. */
  tokenizer: z.string().min(1).optional(),
  /** What lets prompts hold video, sound and pictures. */
  media: z
    .strictObject({
      /** Makes their features. It stays the caller's: close it when both are done. */
      encoder: z.instanceof(Encoder),
      /** Folder of a projector, or random weights of one. */
      projector: z.union([
        z.string().min(1),
        z.strictObject({ seed: z.int().min(0), hidden: z.int().positive().max(65536).optional() }),
      ]),
      /** What one soft token stands for. */
      pool: poolSchema.default("token"),
    })
    .optional(),
  signal: z.instanceof(AbortSignal).optional(),
});
export type LoadLanguageModelOptions = z.input<typeof loadSchema>;

export interface GenerateOptions extends GenerationOptions {
  /** Texts that end a sequence; they and what follows are not part of it. */
  stop?: readonly string[];
  signal?: AbortSignal | undefined;
}

/** A text, token ids as they are, or what an encoder takes: media become soft tokens, texts are tokenized where they stand. */
export type PromptSource = string | ArrayLike<number> | readonly Source[];

/** What one token adds to one sequence. */
export interface GeneratedText {
  /** Which prompt. */
  sequence: number;
  /** The text that became certain with this token; "" while a character or a possible stop string is not whole. */
  text: string;
  /** Absent from the last piece of a sequence whose text ran on behind its last token. */
  token?: number;
  /** Set with the last piece: an end token came, a stop string, or maxTokens are there. */
  finish?: "end" | "length" | "stop";
}

/** A generation of text; leave the loop, or close it, to stop. */
export class TextGeneration implements AsyncIterable<GeneratedText>, Closable {
  private readonly generation: Promise<Generation>;
  private closed = false;

  /** @internal */
  constructor(
    generation: Generation | Promise<Generation>,
    private readonly tokenizer: TextTokenizer,
    private readonly stop: readonly string[],
    private readonly past: readonly (readonly number[])[],
  ) {
    this.generation = Promise.resolve(generation);
    // Whoever iterates hears of it.
    this.generation.catch(() => {});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedText> {
    const decoders = new Map<number, { decoder: ReturnType<TextTokenizer["decoder"]>; stops: StopStrings }>();
    const of = (sequence: number) => {
      let found = decoders.get(sequence);
      if (!found) {
        found = { decoder: this.tokenizer.decoder(), stops: new StopStrings(this.stop) };
        // A resumed sequence decodes on from what was there; its text is out already.
        for (const token of this.past[sequence] ?? []) found.stops.push(this.decode(found.decoder, token));
        decoders.set(sequence, found);
      }
      return found;
    };
    const generation = await this.generation;
    if (this.closed) return;
    for await (const { sequence, token, finish } of generation) {
      const { decoder, stops } = of(sequence);
      let text = finish === "end" ? "" : stops.push(this.decode(decoder, token));
      if (finish) text += stops.push(decoder.end()) + stops.end();
      if (stops.found) generation.stop(sequence);
      const why = stops.found ? "stop" : finish;
      yield { sequence, text, token, ...(why && { finish: why }) };
    }
  }

  /** State and tokens of all sequences, to be resumed with `LanguageModel.resume`. */
  async snapshot(): Promise<GenerationSnapshot> {
    return (await this.generation).snapshot();
  }

  close(): void {
    this.closed = true;
    this.generation.then(
      (generation) => generation.close(),
      () => {},
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Vocabularies are padded: an id behind the tokenizer's last one is no text. */
  private decode(decoder: ReturnType<TextTokenizer["decoder"]>, token: number): string {
    return token < this.tokenizer.vocabularySize ? decoder.push(token) : "";
  }
}

/** A published causal language model with its tokenizer. Close it when done. */
export class LanguageModel implements Closable {
  /** @internal use `loadLanguageModel` */
  constructor(
    readonly model: CausalModel,
    readonly tokenizer: TextTokenizer,
    private readonly device: Device,
    private readonly media: MediaReader | undefined,
  ) {}

  /**
   * Continues prompts, all of them side by side. A list of sources is one prompt: `generate([video("talk.mp4"), text("What is shown?")])`.
   *
   * @throws UsageError (INVALID_OPTION, PROMPT_EMPTY, CONTEXT_FULL, TOKEN_OUT_OF_RANGE), AbortedError, and for media what `encode` throws
   */
  generate(
    prompts: string | readonly Source[] | readonly PromptSource[],
    options: GenerateOptions = {},
  ): TextGeneration {
    const { stop = [], signal, ...rest } = options;
    const stops = checkStops(stop);
    const list = typeof prompts === "string" ? [prompts] : isSources(prompts) ? [prompts] : prompts;
    const start = (inputs: readonly PromptInput[]) => Generation.start(this.model, inputs, rest, signal);
    const plain = (prompt: string | ArrayLike<number>) =>
      typeof prompt === "string" ? this.tokenizer.encode(prompt) : prompt;
    const read = list.map((prompt) =>
      isSources(prompt) ? readPrompt(prompt, this.tokenizer, this.media, signal) : plain(prompt),
    );
    // What needs no reading starts at once, and fails at once.
    const generation = read.some((input) => input instanceof Promise)
      ? Promise.all(read).then(start)
      : start(read as readonly PromptInput[]);
    return new TextGeneration(generation, this.tokenizer, stops, []);
  }

  /** Goes on from a snapshot; stop strings are given anew. */
  async resume(
    snapshot: GenerationSnapshot,
    { stop = [], signal }: Pick<GenerateOptions, "stop" | "signal"> = {},
  ): Promise<TextGeneration> {
    const generation = await Generation.resume(this.model, snapshot, signal);
    const past = snapshot.sequences.map((s) => s.tokens);
    return new TextGeneration(generation, this.tokenizer, checkStops(stop), past);
  }

  async close(): Promise<void> {
    this.model.close();
    this.media?.projector.close();
    await this.device.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Loads a published language model: config.json, safetensors and tokenizer.json of a folder.
 *
 * @throws UsageError (INVALID_OPTION), InputError (MODEL_NOT_FOUND, MODEL_TYPE_UNKNOWN, INVALID_CONFIG, CONFIG_UNSUPPORTED,
 * PICKLE_REFUSED, TENSOR_*, WEIGHT_NOT_FINITE, TOKENIZER_*), EnvironmentError, AbortedError
 */
export async function loadLanguageModel(
  folder: string,
  options: LoadLanguageModelOptions = {},
): Promise<LanguageModel> {
  const parsed = parseOptions(loadSchema, options, "loadLanguageModel()");
  const {
    device: kind,
    threads,
    dtype,
    weights,
    contextTokens,
    chunkTokens,
    slots,
    tokenizer: name,
    media,
    signal,
  } = parsed;
  const tokenizer =
    name === "bytes"
      ? await createTextTokenizer({ kind: "bytes", limits: defaultLimits })
      : await createTextTokenizer({ file: name ?? join(folder, "tokenizer.json"), limits: defaultLimits });
  const device = await openDevice({ device: kind, ...(threads !== undefined && { threads }) });
  try {
    const model = await loadCausalModel(device, folder, {
      dtype,
      weights,
      contextTokens,
      maxTokens: Math.max(chunkTokens, slots),
      maxSequences: slots,
      slots,
      softTokens: media !== undefined,
      signal,
    });
    const { vocabularySize, width } = model.description;
    if (tokenizer.vocabularySize > vocabularySize) {
      model.close();
      throw new InputError(
        expected(`at most ${vocabularySize} ids`, `the tokenizer of ${folder}`, tokenizer.vocabularySize),
        { code: "TOKENIZER_MISMATCH", hint: "It makes ids that the model's embedding does not have." },
      );
    }
    if (!media) return new LanguageModel(model, tokenizer, device, undefined);
    try {
      const { encoder, pool } = media;
      const projector = await openProjector(device, media.projector, encoder.dim, width);
      return new LanguageModel(model, tokenizer, device, { encoder, projector, pool });
    } catch (error) {
      model.close();
      throw error;
    }
  } catch (error) {
    await device.close();
    throw error;
  }
}

async function openProjector(
  device: Device,
  choice: string | { seed: number; hidden?: number | undefined },
  input: number,
  width: number,
): Promise<Projector> {
  if (typeof choice !== "string") {
    const hidden = choice.hidden === undefined ? {} : { hidden: choice.hidden };
    return Projector.create(device, { input, width, ...hidden }, seededWeights(choice.seed));
  }
  const projector = await loadProjector(device, choice);
  if (projector.input === input && projector.width === width) return projector;
  projector.close();
  throw new InputError(
    expected(`${input} numbers in and ${width} out`, `the projector ${choice}`, [projector.input, projector.width]),
    {
      code: "PROJECTOR_MISMATCH",
      hint: "It stands between one encoder and one model: take the one that was trained for both.",
    },
  );
}

/** Sources are objects of their own kind; ids and texts are not. */
function isSources(prompt: string | ArrayLike<number> | readonly unknown[]): prompt is readonly Source[] {
  if (typeof prompt === "string" || prompt.length === 0) return false;
  const first = prompt[0] as { kind?: unknown } | null;
  return typeof first === "object" && first !== null && typeof first.kind === "string";
}

function checkStops(stop: readonly string[]): readonly string[] {
  const wrong = stop.find((s) => typeof s !== "string" || s === "");
  if (wrong === undefined) return stop;
  throw new UsageError(expected("texts that are not empty", "stop", wrong), {
    code: "INVALID_OPTION",
    hint: "An empty text would end every sequence at once.",
  });
}
