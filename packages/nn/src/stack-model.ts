import type { Closable } from "@krait/core";
import type { Device } from "@krait/runtime";
import { expectRows, Model, type ModelOptions } from "./model.js";
import type { Choices, RoutedLayer } from "./routing.js";
import type { Session } from "./session.js";
import { Stack, type StackOptions } from "./stack.js";
import type { WeightSource } from "./weights.js";

export interface StackModelOptions extends ModelOptions {
  /** Whether runs give out what layers chose among their experts, and take it. */
  routing?: boolean;
}

/** A stack alone: values [T, width] in, features [T, width] out. For experiments with layouts, and for tests of the laws. */
export class StackModel implements Closable {
  private constructor(
    readonly stack: Stack,
    private readonly model: Model,
    /** Layers whose choices runs give out; none without the option `routing`. */
    readonly routed: readonly RoutedLayer[],
  ) {}

  static async create(
    device: Device,
    options: StackOptions,
    source: WeightSource,
    { routing = false, ...model }: StackModelOptions = {},
  ): Promise<StackModel> {
    const stack = new Stack(options);
    const routed = routing ? stack.routed : [];
    const built = await Model.create(
      device,
      "stack",
      { ...stack.blueprint(), ...(routing && { routing: routed }) },
      source,
      ({ graph, tokens, dtype, tensors, context }) => {
        // The stream's dtype is the stack's choice; the host always speaks float32.
        const x = graph.input("values", "f32", [tokens, stack.width]);
        graph.output("features", stack.forward(graph, x, context, tensors, dtype));
      },
      model,
    );
    return new StackModel(stack, built, routed);
  }

  /** A new sequence with a zero state. Throws `UsageError` (NOT_CAUSAL) where a layer looks ahead. */
  async open(): Promise<Session> {
    this.stack.expectCausal("open()");
    return this.model.open();
  }

  get stateBytes(): number {
    return this.model.stateBytes;
  }

  /**
   * @param values [T, width], the sequences one after the other
   * @param lengths tokens of each sequence; one sequence when absent
   * @param globals per sequence, its global tokens as places in what the run brings of it
   * @returns features [T, width]
   * @throws UsageError (SHAPE_MISMATCH and what `Model.run` throws), AbortedError
   */
  async run(values: Float32Array, sequences: RunSequences = {}): Promise<Float32Array> {
    return (await this.runRouted(values, sequences)).features;
  }

  /**
   * As `run`, and per sequence what each layer with experts chose: what was given, where it was.
   *
   * @throws as `run`
   */
  async runRouted(
    values: Float32Array,
    {
      lengths = [values.length / this.stack.width],
      sessions = [],
      globals,
      choices,
      signal,
      queued,
    }: RunSequences = {},
  ): Promise<{ features: Float32Array; choices: Choices[] }> {
    expectRows(values, lengths, this.stack.width);
    const outputs = await this.model.run({
      lengths,
      sessions,
      inputs: { values },
      globals,
      choices,
      signal,
      ...(queued !== undefined && { queued }),
    });
    return { features: outputs.features as Float32Array, choices: this.model.choicesOf(lengths, outputs) };
  }

  close(): void {
    this.model.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

export interface RunSequences {
  lengths?: readonly number[];
  sessions?: readonly (Session | undefined)[];
  globals?: readonly (readonly number[])[] | undefined;
  /** Per sequence, the experts of its tokens; of a model created with `routing`. */
  choices?: readonly (Choices | undefined)[] | undefined;
  signal?: AbortSignal | undefined;
  /** Whether the run may be given before earlier runs of its sessions have ended: it begins behind them. */
  queued?: boolean;
}
