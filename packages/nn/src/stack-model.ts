import type { Closable } from "@krait/core";
import type { Device } from "@krait/runtime";
import { expectRows, Model, type ModelOptions } from "./model.js";
import type { Session } from "./session.js";
import { Stack, type StackOptions } from "./stack.js";
import type { WeightSource } from "./weights.js";

/** A stack alone: values [T, width] in, features [T, width] out. For experiments with layouts, and for tests of the laws. */
export class StackModel implements Closable {
  private constructor(
    readonly stack: Stack,
    private readonly model: Model,
  ) {}

  static async create(
    device: Device,
    options: StackOptions,
    source: WeightSource,
    model: ModelOptions = {},
  ): Promise<StackModel> {
    const stack = new Stack(options);
    const built = await Model.create(
      device,
      "stack",
      stack.blueprint(),
      source,
      ({ graph, tokens, dtype, tensors, context }) => {
        // The stream's dtype is the stack's choice; the host always speaks float32.
        const x = graph.input("values", "f32", [tokens, stack.width]);
        graph.output("features", stack.forward(graph, x, context, tensors, dtype));
      },
      model,
    );
    return new StackModel(stack, built);
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
  async run(
    values: Float32Array,
    { lengths = [values.length / this.stack.width], sessions = [], globals, signal, queued }: RunSequences = {},
  ): Promise<Float32Array> {
    expectRows(values, lengths, this.stack.width);
    const { features } = await this.model.run({
      lengths,
      sessions,
      inputs: { values },
      globals,
      signal,
      ...(queued !== undefined && { queued }),
    });
    return features as Float32Array;
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
  signal?: AbortSignal | undefined;
  /** Whether the run may be given before earlier runs of its sessions have ended: it begins behind them. */
  queued?: boolean;
}
