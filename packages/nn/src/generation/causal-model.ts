import { type Closable, expected, UsageError } from "@krait/core";
import { argMax, concatenateRows, embedding, linear, unary, type Value } from "@krait/graph";
import type { Device, DeviceBuffer } from "@krait/runtime";
import type { LoadableWeights, ModelTensor } from "../checkpoints/index.js";
import type { CausalDescription } from "../families/family.js";
import { Pass } from "../families/pass.js";
import { Model, type ModelBuilder, type ModelOptions } from "../model.js";
import type { Choices, RoutedLayer } from "../routing.js";
import type { Session } from "../session.js";
import type { Blueprint } from "../stack.js";
import type { WeightSource } from "../weights.js";
import { GreedySteps } from "./greedy-steps.js";
import { Prompt, type PromptInput } from "./prompt.js";

export interface CausalModelOptions extends Omit<ModelOptions, "contextTokens"> {
  /** Most rows of logits in one run; as many as `maxSequences` when absent, which is what generation needs. */
  maxLogits?: number;
  /** Whether prompts may hold soft tokens. */
  softTokens?: boolean;
  /** Whether runs give out what layers chose among their experts, and take it. */
  routing?: boolean;
  /**
   * Steps of a greedy generation that may be under way at once, the next id chosen on the device. 0 has each token chosen on the host,
   * 3 is the default on CUDA, where the way to the host and back would take longer than the step.
   */
  stepsAhead?: number | undefined;
}

/** Tokens of one sequence in a run. */
export interface CausalInput {
  /** Token ids, [n]; or ids and soft tokens in stretches. */
  ids: PromptInput | Prompt;
  /** Carries the state from run to run; without it the sequence starts and ends here. */
  session?: Session | undefined;
  /** Which tokens' logits are wanted. */
  logits?: "last" | "all" | "none";
  /** The experts that its tokens go to; of a model created with `routing`. */
  choices?: Choices | undefined;
}

/** What a run gives of one sequence: the logits [rows, vocabularySize] and, of a model created with `routing`, its choices. */
export interface RoutedLogits {
  logits: Float32Array;
  choices: Choices;
}

/** Every tensor of a description once, whichever blocks share it. */
export function tensorsOf(description: CausalDescription): ModelTensor[] {
  const { embedding, finalNorm, head, blocks } = description;
  const all = [embedding, ...blocks.flatMap((b) => b.tensors), finalNorm, head];
  return [...new Map(all.map((t) => [t.name, t])).values()];
}

/** The layers that choose among experts. */
export function routedLayers({ blocks }: CausalDescription): RoutedLayer[] {
  return blocks.flatMap(({ routed }) => routed ?? []);
}

/** Tensors and states of the whole model. */
export function blueprintOf(description: CausalDescription): Blueprint {
  return { parameters: tensorsOf(description), states: description.blocks.flatMap((b) => b.states) };
}

/** ids [T] → logits [L, vocabularySize] of the rows asked for. */
export function buildCausal(
  description: CausalDescription,
  { maxLogits, softTokens = false }: { maxLogits: number; softTokens?: boolean },
  builder: ModelBuilder,
): void {
  const { graph, tokens, tensors } = builder;
  const tensor = (t: ModelTensor) => tensors.get(t.name)!;
  const rows = graph.indices("rows", graph.symbol("L", maxLogits), 0, tokens);
  const table = tensor(description.embedding);
  const embedded = softTokens
    ? mixedRows(builder, description, table)
    : idRows(table, graph.indices("ids", tokens, 0, description.vocabularySize));
  const features = featuresOf(description, builder, embedded);
  const wanted = embedding({ table: features, ids: rows }).y; // [L, width]
  graph.output("logits", logitsOf(description, builder, wanted));
}

/** One token of each sequence: `ids` [T], which the step before chose → `chosen` [T], the places of the largest logits. */
function buildGreedyStep(description: CausalDescription, builder: ModelBuilder): void {
  const { graph, tokens, tensors } = builder;
  const ids = graph.state(GREEDY_IDS, "i32", [tokens]);
  const features = featuresOf(description, builder, idRows(tensors.get(description.embedding.name)!, ids));
  graph.output("chosen", argMax({ x: logitsOf(description, builder, features), kept: ids }).index);
}

const GREEDY_IDS = "greedy.ids";

const scaled = (x: Value, scale: number) => (scale === 1 ? x : unary({ x }, { kind: "identity", scale }).y);

/** Rows of the embedding → normed features, both [rows, width]. The residual stream is float32 throughout. */
function featuresOf(description: CausalDescription, builder: ModelBuilder, rows: Value): Value {
  const { graph, tensors, context, dtype } = builder;
  const embedded = scaled(rows, description.embeddingScale);
  const pass = new Pass(graph, embedded, embedded, tensors, context, dtype);
  for (const block of description.blocks) block.forward(pass);
  return pass.normed(description.finalNorm.name, description.normEps);
}

function logitsOf(description: CausalDescription, { tensors }: ModelBuilder, features: Value): Value {
  const logits = linear({ x: features, weight: tensors.get(description.head.name)! }, { outDtype: "f32" }).y;
  return scaled(logits, description.logitsScale);
}

const idRows = (table: Value, ids: Value) => embedding({ table, ids }, { outDtype: "f32" }).y;

/** The ids' rows, then the soft ones, gathered into the order of the sequences. */
function mixedRows({ graph, tokens, maxTokens }: ModelBuilder, description: CausalDescription, table: Value): Value {
  const ids = graph.indices("ids", graph.symbol("X", maxTokens), 0, description.vocabularySize);
  const soft = graph.input("soft", "f32", [graph.symbol("E", maxTokens), description.width]);
  const all = concatenateRows([idRows(table, ids), soft]);
  return embedding({ table: all, ids: graph.indices("order", tokens, 0, all.shape[0]!) }).y;
}

/** A causal language model on a device: token ids in, logits out, state in sessions. */
export class CausalModel implements Closable {
  private greedy: Promise<{ model: Model; ids: DeviceBuffer }> | undefined;

  private constructor(
    readonly description: CausalDescription,
    private readonly model: Model,
    private readonly maxLogits: number,
    /** Most open sessions. */
    readonly slots: number,
    private readonly softTokens: boolean,
    /** Greedy steps that may be under way at once; 0: none, each token is chosen on the host. */
    readonly stepsAhead: number,
  ) {}

  static async create(
    device: Device,
    description: CausalDescription,
    source: WeightSource | LoadableWeights,
    options: CausalModelOptions = {},
  ): Promise<CausalModel> {
    const { maxSequences = 16, maxLogits = maxSequences, slots = 4, softTokens = false, routing = false } = options;
    const { stepsAhead = device.kind === "cuda" ? 3 : 0 } = options;
    if (!Number.isInteger(stepsAhead) || stepsAhead < 0) {
      throw new UsageError(expected("a whole number of steps, at least 0", "stepsAhead", stepsAhead), {
        code: "INVALID_OPTION",
        hint: "0 chooses each token on the host.",
      });
    }
    const model = await Model.create(
      device,
      description.family,
      { ...blueprintOf(description), ...(routing && { routing: routedLayers(description) }) },
      source,
      (builder) => buildCausal(description, { maxLogits, softTokens }, builder),
      { ...options, contextTokens: description.contextTokens },
    );
    return new CausalModel(description, model, maxLogits, slots, softTokens, stepsAhead);
  }

  get maxTokens(): number {
    return this.model.maxTokens;
  }

  get maxSequences(): number {
    return this.model.maxSequences;
  }

  /** Bytes of carried state per sequence. */
  get stateBytes(): number {
    return this.model.stateBytes;
  }

  get arenaBytes(): number {
    return this.model.arenaBytes;
  }

  /** A new sequence with a zero state. */
  open(): Promise<Session> {
    return this.model.open();
  }

  /**
   * One run over several packed sequences.
   *
   * @returns per sequence its logits [rows, vocabularySize]
   * @throws UsageError (RUN_TOO_LARGE, TOKEN_OUT_OF_RANGE, CONTEXT_FULL, SESSION_NOT_READY), AbortedError
   */
  async run(inputs: readonly CausalInput[], signal?: AbortSignal): Promise<Float32Array[]> {
    return (await this.runRouted(inputs, signal)).map(({ logits }) => logits);
  }

  /**
   * As `run`, and per sequence what each layer with experts chose: what was given, where it was.
   *
   * @throws as `run`
   */
  async runRouted(inputs: readonly CausalInput[], signal?: AbortSignal): Promise<RoutedLogits[]> {
    const { vocabularySize, width } = this.description;
    const prompts = inputs.map(({ ids }) => Prompt.of(ids, width));
    const ids: number[] = [];
    const rows: number[] = [];
    const counts: number[] = [];
    let end = 0;
    for (const [i, { session, logits = "last" }] of inputs.entries()) {
      const prompt = prompts[i]!;
      this.checkRoom(prompt.length, session);
      for (const id of prompt.ids) ids.push(id);
      const from = end;
      end += prompt.length;
      const first = logits === "all" ? from : logits === "last" ? Math.max(from, end - 1) : end;
      for (let row = first; row < end; row++) rows.push(row);
      counts.push(end - first);
    }
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabularySize);
    if (wrong !== undefined) {
      throw new UsageError(expected(`a token id from 0 to ${vocabularySize - 1}`, "the prompt", wrong), {
        code: "TOKEN_OUT_OF_RANGE",
        hint: "Do the tokenizer and the model belong together?",
      });
    }
    if (rows.length > this.maxLogits) {
      throw new UsageError(expected(`at most ${this.maxLogits} rows of logits`, "a run", rows.length), {
        code: "RUN_TOO_LARGE",
        hint: "Ask for the last token's logits, cut the run, or load the model with a larger maxLogits.",
      });
    }
    const soft = this.softInputs(prompts, ids.length);
    const lengths = prompts.map((prompt) => prompt.length);
    const outputs = await this.model.run({
      lengths,
      sessions: inputs.map((input) => input.session),
      symbols: { L: rows.length, ...soft.symbols },
      inputs: { ids: Int32Array.from(ids), rows: Int32Array.from(rows), ...soft.inputs },
      choices: inputs.map((input) => input.choices),
      signal,
    });
    const choices = this.model.choicesOf(lengths, outputs);
    let at = 0;
    return counts.map((n, i) => {
      const logits = (outputs.logits as Float32Array).subarray(at * vocabularySize, (at + n) * vocabularySize);
      at += n;
      return { logits, choices: choices[i]! };
    });
  }

  /**
   * Feeds a prompt of any length in chunks.
   *
   * @returns the logits of its last token [vocabularySize]
   */
  async prefill(
    input: PromptInput,
    session: Session,
    { chunk = this.maxTokens, signal }: { chunk?: number; signal?: AbortSignal | undefined } = {},
  ): Promise<Float32Array> {
    const all = Prompt.of(input, this.description.width);
    if (all.length === 0 || !Number.isInteger(chunk) || chunk < 1) {
      throw new UsageError(
        expected("at least one token", all.length === 0 ? "a prompt" : "a chunk", all.length && chunk),
        {
          code: "INVALID_OPTION",
          hint: "A model says nothing before the first token.",
        },
      );
    }
    this.checkRoom(all.length, session);
    const step = Math.min(chunk, this.maxTokens);
    let last = new Float32Array(0);
    for (let from = 0; from < all.length; from += step) {
      const isLast = from + step >= all.length;
      const part = all.slice(from, Math.min(all.length, from + step));
      [last] = (await this.run([{ ids: part, session, logits: isLast ? "last" : "none" }], signal)) as [
        Float32Array<ArrayBuffer>,
      ];
    }
    return last;
  }

  /**
   * Greedy steps of sequences with sessions, which nobody else runs meanwhile.
   *
   * @param last each sequence's last token, which its state has not seen
   * @throws as `run`; the steps throw that too
   */
  async greedySteps(sessions: readonly Session[], last: Int32Array, signal?: AbortSignal): Promise<GreedySteps> {
    this.greedy ??= this.createGreedy();
    const { model, ids } = await this.greedy;
    await ids.write(last);
    const lengths = sessions.map(() => 1);
    const step = async () => {
      for (const session of sessions) this.checkRoom(1, session);
      const { chosen } = await model.run({ lengths, sessions, inputs: {}, signal, queued: true });
      return chosen as Int32Array;
    };
    return new GreedySteps(step, this.stepsAhead);
  }

  private async createGreedy(): Promise<{ model: Model; ids: DeviceBuffer }> {
    const { device, maxSequences } = this.model;
    const ids = await device.allocate(maxSequences * 4);
    const build = (builder: ModelBuilder) => buildGreedyStep(this.description, builder);
    const name = `${this.description.family} greedy step`;
    return { model: await this.model.variant(name, build, maxSequences, { [GREEDY_IDS]: ids }), ids };
  }

  /** What a program that takes soft tokens wants besides the ids. */
  private softInputs(prompts: readonly Prompt[], ids: number) {
    if (!this.softTokens) {
      if (!prompts.some((prompt) => prompt.hasSoft)) return { symbols: {}, inputs: {} };
      throw new UsageError(expected("token ids alone", "a prompt of this model", "soft tokens"), {
        code: "INVALID_OPTION",
        hint: "Load the model with softTokens.",
      });
    }
    const segments = prompts.flatMap((prompt) => prompt.segments);
    const count = segments.reduce((sum, s) => sum + (s.soft ? s.count : 0), 0);
    const soft = new Float32Array(count * this.description.width);
    const order = new Int32Array(ids + count);
    let [at, id, row] = [0, 0, 0];
    for (const segment of segments) {
      if (segment.soft) soft.set(segment.soft, row * this.description.width);
      for (let i = 0; i < segment.count; i++) order[at++] = segment.soft ? ids + row++ : id++;
    }
    return { symbols: { X: ids, E: count }, inputs: { soft, order } };
  }

  /** Keys and values are kept for a bounded number of tokens; what is beyond would be forgotten in silence. */
  private checkRoom(tokens: number, session: Session | undefined): void {
    const room = this.description.contextTokens;
    const end = (session?.nextPosition ?? 0) + tokens;
    if (room === undefined || end <= room) return;
    throw new UsageError(expected(`at most ${room} tokens`, "a sequence of a model with attention", end), {
      code: "CONTEXT_FULL",
      hint: "Load the model with a larger contextTokens; its keys and values take memory for each.",
    });
  }

  close(): void {
    this.greedy?.then(
      ({ model }) => model.close(),
      () => {},
    );
    this.model.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
