import {
  AbortedError,
  type Closable,
  EnvironmentError,
  expected,
  KraitError,
  type TypedArray,
  throwIfAborted,
  UsageError,
} from "@krait/core";
import { capacityBytes, type Dim, encode, Graph, plan, type Value, verify } from "@krait/graph";
import type { Device, DeviceBuffer, Program } from "@krait/runtime";
import type { LoadableWeights, WeightPlacement } from "./checkpoints/index.js";
import { type StateSpec, stateDType, stateShape } from "./layers/index.js";
import { type Choices, checkChoices, chosenOf, declareRouting, givenInputs, type RoutedLayer } from "./routing.js";
import type { Session } from "./session.js";
import type { Blueprint, SequenceContext } from "./stack.js";
import { StatePool } from "./state-pool.js";
import { readWeights, type WeightSource } from "./weights.js";

export interface ModelOptions {
  /** Activations and weights of the layers; norms, scans and features stay float32. */
  dtype?: "f32" | "bf16";
  /** Most tokens in one run. */
  maxTokens?: number;
  /** Most sequences in one run. */
  maxSequences?: number;
  /** Most open sessions. */
  slots?: number;
  /**
   * Most tokens of one sequence over all its runs, where states grow with it: full attention keeps keys and values for as many, in whole
   * pages. Without it such a model runs whole sequences and opens no sessions. States that do not grow need none.
   */
  contextTokens?: number | undefined;
  /** Where weights out of files lie on the CPU, `mapped` when absent. */
  weights?: WeightPlacement | undefined;
  signal?: AbortSignal | undefined;
}

/** What a model builds its program with. */
export interface ModelBuilder {
  graph: Graph;
  tokens: Dim;
  maxTokens: number;
  dtype: "f32" | "bf16";
  tensors: ReadonlyMap<string, Value>;
  context: SequenceContext;
}

/** One run: the sequences' lengths, their sessions (none for a sequence that carries nothing) and the named inputs. */
export interface ModelRun {
  lengths: readonly number[];
  sessions?: readonly (Session | undefined)[];
  symbols?: Record<string, number>;
  inputs: Record<string, TypedArray>;
  /** Per sequence, its global tokens of this run as places in it, ascending. */
  globals?: readonly (readonly number[])[] | undefined;
  /** Per sequence, what its tokens of this run are sent to; only where the blueprint names layers that take it. */
  choices?: readonly (Choices | undefined)[] | undefined;
  signal?: AbortSignal | undefined;
  /** Whether it may be given before earlier runs of its sessions have ended: it begins behind them. */
  queued?: boolean;
}

/** Bytes that a model takes on its device, whatever the length of what it reads. */
export interface ModelMemory {
  weightBytes: number;
  /** Of one sequence; there is room for `slots`. */
  stateBytes: number;
  slots: number;
  /** Working memory of one run of `maxTokens` tokens. */
  arenaBytes: number;
}

/** The program of a model, without a device. */
function buildProgram(
  name: string,
  blueprint: Blueprint,
  build: (builder: ModelBuilder) => void,
  options: ModelOptions,
): { graph: Graph; tensors: Map<string, Value> } {
  const { dtype = "f32", maxTokens = 2048, maxSequences = 16, slots = 4, contextTokens } = options;
  const graph = new Graph(name);
  const T = graph.symbol("T", maxTokens);
  const S = graph.symbol("S", maxSequences);
  const tensors = new Map<string, Value>();
  for (const p of blueprint.parameters) {
    tensors.set(p.name, graph.parameter(p.name, p.dtype === "f32" ? "f32" : dtype, p.programShape ?? p.shape));
  }
  for (const s of plannedStates(blueprint, contextTokens)) {
    tensors.set(s.name, graph.state(s.name, stateDType(s, dtype), [slots, ...s.shape]));
  }
  const { globalTokens = 0 } = blueprint;
  const G = globalTokens > 0 ? graph.symbol("G", Math.min(maxTokens, maxSequences * globalTokens)) : undefined;
  const context: SequenceContext = {
    cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
    stateIndex: graph.slots("stateIndex", S, slots),
    position: graph.input("position", "i64", [S]),
    ...(G && {
      globals: { tokens: graph.indices("globals", G, 0, T), borders: graph.cuSeqlens("globalBorders", S, G) },
    }),
  };
  if (blueprint.routing) context.routing = declareRouting(graph, T, blueprint.routing);
  build({ graph, tokens: T, maxTokens, dtype, tensors, context });
  verify(graph);
  return { graph, tensors };
}

/** The states with their whole shapes; without those that grow where nothing says how far. */
function plannedStates({ states }: Blueprint, contextTokens: number | undefined): StateSpec[] {
  const kept = contextTokens === undefined ? states.filter((s) => s.growth !== "linear") : states;
  return kept.map((s) => ({ ...s, shape: stateShape(s, contextTokens ?? 0) }));
}

function boundBytes(graph: Graph, kind: "parameter" | "state"): number {
  return [...graph.bindings.values()].filter((v) => v.binding?.kind === kind).reduce((n, v) => n + capacityBytes(v), 0);
}

/** What `Model.create` would take with the same arguments. */
export function planMemory(
  name: string,
  blueprint: Blueprint,
  build: (builder: ModelBuilder) => void,
  options: ModelOptions = {},
): ModelMemory {
  const { graph } = buildProgram(name, blueprint, build, options);
  const slots = options.slots ?? 4;
  return {
    weightBytes: boundBytes(graph, "parameter"),
    stateBytes: boundBytes(graph, "state") / slots,
    slots,
    arenaBytes: encode(plan(graph)).arenaBytes,
  };
}

/** The same error with what the model was planned to take, by which its options can be chosen. */
function withSizes(error: KraitError, graph: Graph): EnvironmentError {
  const [weights, states, working] = [
    boundBytes(graph, "parameter"),
    boundBytes(graph, "state"),
    encode(plan(graph)).arenaBytes,
  ];
  const sizes = `${weights} bytes of weights, ${states} of states and ${working} of working memory`;
  return new EnvironmentError(`${error.message}; ${graph.name} takes ${sizes}`, {
    code: error.code,
    hint: "Working memory falls with chunkTokens, states with slots, weights with dtype bf16.",
    cause: error,
  });
}

/** Weights, states and a program on one device: the part that every kind of model shares. */
export class Model implements Closable {
  private constructor(
    readonly device: Device,
    readonly maxTokens: number,
    readonly maxSequences: number,
    private readonly program: Program,
    private readonly pool: StatePool,
    private readonly weights: DeviceBuffer[],
    /** Most tokens of a sequence that has a session. */
    private readonly room: number,
    /** Of parameters and states, by name. */
    private readonly buffers: Record<string, DeviceBuffer>,
    private readonly blueprint: Blueprint,
    private readonly options: ModelOptions,
    /** Whether the sessions end with it. */
    private readonly ownsPool = true,
  ) {}

  /** @param build adds the model's inputs, its forward pass and its outputs to the graph */
  static async create(
    device: Device,
    name: string,
    blueprint: Blueprint,
    source: WeightSource | LoadableWeights,
    build: (builder: ModelBuilder) => void,
    options: ModelOptions = {},
  ): Promise<Model> {
    const { dtype = "f32", maxTokens = 2048, maxSequences = 16, slots = 4, contextTokens, signal } = options;
    const { graph } = buildProgram(name, blueprint, build, options);

    const weights: DeviceBuffer[] = [];
    let pool: StatePool | undefined;
    let program: Program | undefined;
    try {
      const buffers: Record<string, DeviceBuffer> = {};
      let loading: Promise<void> | undefined;
      if ("load" in source) {
        const placed = await source.load(device, blueprint.parameters, { dtype, placement: options.weights, signal });
        weights.push(...placed.buffers);
        for (const [i, { name }] of blueprint.parameters.entries()) buffers[name] = placed.buffers[i]!;
        loading = placed.loaded;
      } else {
        for await (const { spec, data } of readWeights(source, blueprint.parameters, dtype, signal)) {
          buffers[spec.name] = await device.upload(data);
          weights.push(buffers[spec.name]!);
        }
      }
      // The program is planned while the device reads the weights.
      const prepare = async () => {
        pool = await StatePool.create(device, plannedStates(blueprint, contextTokens), slots, dtype);
        program = await device.load(graph, { buffers: Object.assign(buffers, pool.buffers) });
      };
      // Whichever fails, the other has ended when the buffers are closed.
      for (const part of await Promise.allSettled([loading, prepare()]))
        if (part.status === "rejected") throw part.reason;
      const grows = blueprint.states.some((s) => s.growth === "linear");
      const room = grows ? (contextTokens ?? 0) : Number.POSITIVE_INFINITY;
      return new Model(device, maxTokens, maxSequences, program!, pool!, weights, room, buffers, blueprint, options);
    } catch (error) {
      program?.close();
      pool?.close();
      for (const buffer of weights) buffer.close();
      throw KraitError.is(error) && error.code === "OUT_OF_MEMORY" ? withSizes(error, graph) : error;
    }
  }

  /**
   * Another program over the same weights and sessions, for runs of at most `maxTokens` tokens. It keeps its choices of experts to itself.
   *
   * @param own states that no session has, by name
   */
  async variant(
    name: string,
    build: (builder: ModelBuilder) => void,
    maxTokens: number,
    own: Record<string, DeviceBuffer>,
  ): Promise<Model> {
    const options = { ...this.options, maxTokens };
    const blueprint = { ...this.blueprint, routing: undefined };
    const { graph } = buildProgram(name, blueprint, build, options);
    const buffers = { ...this.buffers, ...own };
    const program = await this.device.load(graph, { buffers });
    const { device, maxSequences, pool, room } = this;
    const kept = Object.values(own);
    return new Model(device, maxTokens, maxSequences, program, pool, kept, room, buffers, blueprint, options, false);
  }

  /**
   * A new sequence with a zero state.
   *
   * @throws UsageError (NO_FREE_SLOT; NOT_CAUSAL when tokens depend on later ones; STATE_GROWS when states grow and the model was created
   * without `contextTokens`)
   */
  async open(): Promise<Session> {
    if (!(this.blueprint.isCausal ?? true)) {
      throw new UsageError(expected("a causal model", "a session", "one whose tokens depend on later ones"), {
        code: "NOT_CAUSAL",
        hint: "Run whole sequences without sessions.",
      });
    }
    if (this.room === 0) {
      throw new UsageError(expected("contextTokens", "a session of a model whose state grows", undefined), {
        code: "STATE_GROWS",
        hint: "Full attention keeps keys and values of every token: say for how many, or use a window.",
      });
    }
    return this.pool.open();
  }

  /** Bytes of carried state per sequence. */
  get stateBytes(): number {
    return this.pool.bytesPerSequence;
  }

  /** Bytes of working memory, independent of the length of what is encoded. */
  get arenaBytes(): number {
    return this.program.arenaBytes;
  }

  /**
   * @throws UsageError (RUN_TOO_LARGE, CONTEXT_FULL, TOO_MANY_GLOBALS, INVALID_OPTION, SESSION_NOT_READY, SESSION_MISMATCH)
   * @throws AbortedError when the signal fires, or when a run that this one was queued behind did not finish
   */
  async run({
    lengths,
    sessions = [],
    symbols = {},
    inputs,
    globals = [],
    choices = [],
    signal,
    queued = false,
  }: ModelRun): Promise<Record<string, TypedArray>> {
    const wrong = lengths.find((n) => !Number.isSafeInteger(n) || n < 0);
    if (wrong !== undefined) {
      throw new UsageError(expected("whole numbers of tokens", "the lengths of a run", wrong), {
        code: "INVALID_OPTION",
        hint: "Each sequence has a length; values hold one row for each of its tokens.",
      });
    }
    const tokens = lengths.reduce((a, b) => a + b, 0);
    if (tokens > this.maxTokens || lengths.length > this.maxSequences) {
      throw new UsageError(
        expected(`at most ${this.maxTokens} tokens in ${this.maxSequences} sequences`, "a run", [
          tokens,
          lengths.length,
        ]),
        { code: "RUN_TOO_LARGE", hint: "Cut it into chunks, or load the model with a larger maxTokens." },
      );
    }
    // Before any session is touched: a run that never began leaves them as they are.
    throwIfAborted(signal, "a run");
    const used = lengths.map((_, i) => sessions[i]);
    used.forEach((session, i) => {
      if (session) this.checkRoom(session.nextPosition + lengths[i]!);
    });
    const marked = lengths.map((n, i) => this.checkGlobals(globals[i] ?? [], n, used[i]));
    lengths.forEach((n, i) => {
      checkChoices(choices[i] ?? {}, n, this.routing);
    });
    const positions = BigInt64Array.from(used, (s) => BigInt(s?.nextPosition ?? 0));
    this.begin(used, lengths, marked, queued);
    let results: Record<string, TypedArray> | undefined;
    let sound = true;
    try {
      const cuSeqlens = borders(lengths);
      results = await this.program.run({
        symbols: {
          T: tokens,
          S: lengths.length,
          ...(this.maxGlobals > 0 && { G: marked.flat().length }),
          ...symbols,
        },
        inputs: {
          cuSeqlens,
          stateIndex: Int32Array.from(used, (s) => s?.slot ?? -1),
          position: positions,
          ...(this.maxGlobals > 0 && {
            globals: Int32Array.from(marked.flatMap((places, i) => places.map((place) => cuSeqlens[i]! + place))),
            globalBorders: borders(marked.map((places) => places.length)),
          }),
          ...givenInputs(this.routing, lengths, choices),
          ...inputs,
        },
        signal,
      });
    } finally {
      used.forEach((session, i) => {
        if (session && !session.end(lengths[i]!, results !== undefined, marked[i]!.length)) sound = false;
      });
    }
    if (!sound) throw new AbortedError("a run behind one that did not finish");
    return results;
  }

  /** What a run of sequences of these lengths chose, per sequence, out of its outputs. */
  choicesOf(lengths: readonly number[], outputs: Readonly<Record<string, TypedArray>>): Choices[] {
    return chosenOf(this.routing, lengths, outputs);
  }

  close(): void {
    this.program.close();
    if (this.ownsPool) this.pool.close();
    for (const buffer of this.weights) buffer.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private get routing(): readonly RoutedLayer[] {
    return this.blueprint.routing ?? [];
  }

  /** Most global tokens of a sequence. */
  private get maxGlobals(): number {
    return this.blueprint.globalTokens ?? 0;
  }

  /** Throws `UsageError` (CONTEXT_FULL) for a sequence that would outgrow its keys and values. */
  private checkRoom(tokens: number): void {
    if (tokens <= this.room) return;
    throw new UsageError(expected(`at most ${this.room} tokens`, "a sequence of a model whose state grows", tokens), {
      code: "CONTEXT_FULL",
      hint: "Load the model with room for more tokens; its keys and values take memory for each.",
    });
  }

  /** Throws `UsageError` for global tokens that are not places of the run, or more than the layers keep (TOO_MANY_GLOBALS). */
  private checkGlobals(places: readonly number[], tokens: number, session: Session | undefined): readonly number[] {
    if (places.length === 0) return places;
    const all = places.length + (session?.nextGlobals ?? 0);
    if (all > this.maxGlobals) {
      throw new UsageError(expected(`at most ${this.maxGlobals} global tokens`, "a sequence", all), {
        code: "TOO_MANY_GLOBALS",
        hint: "Attention layers keep as many as their option globalTokens says.",
      });
    }
    const wrong = places.find((p, i) => !Number.isInteger(p) || p < 0 || p >= tokens || (i > 0 && p <= places[i - 1]!));
    if (wrong === undefined) return places;
    throw new UsageError(expected(`ascending places from 0 to ${tokens - 1}`, "global tokens of a sequence", wrong), {
      code: "INVALID_OPTION",
      hint: "Places are counted from the first token that the run brings of the sequence.",
    });
  }

  /** All of the sessions or none. */
  private begin(
    sessions: readonly (Session | undefined)[],
    lengths: readonly number[],
    globals: readonly (readonly number[])[],
    queued: boolean,
  ): void {
    const begun: [Session, number, number][] = [];
    try {
      sessions.forEach((session, i) => {
        if (!session) return;
        const [tokens, marked] = [lengths[i]!, globals[i]!.length];
        session.begin(this.pool, tokens, queued, marked);
        begun.push([session, tokens, marked]);
      });
    } catch (error) {
      for (const [session, tokens, marked] of begun) session.withdraw(tokens, marked);
      throw error;
    }
  }
}

/**
 * Throws `UsageError` (SHAPE_MISMATCH) unless there are `width` values for each token: before a run begins, so that its sessions stay as
 * they are.
 */
export function expectRows(values: ArrayLike<number>, lengths: readonly number[], width: number): void {
  const count = lengths.reduce((a, b) => a + b, 0) * width;
  if (values.length === count) return;
  throw new UsageError(expected(`${count} numbers`, `${count / width} tokens of width ${width}`, values.length), {
    code: "SHAPE_MISMATCH",
    hint: "Values hold the rows of all sequences, one behind the other; lengths say how many are whose.",
  });
}

/** Where packed parts of these lengths begin, [n + 1]. @internal */
export function borders(lengths: readonly number[]): Int32Array {
  const out = new Int32Array(lengths.length + 1);
  lengths.forEach((n, i) => {
    out[i + 1] = out[i]! + n;
  });
  return out;
}
