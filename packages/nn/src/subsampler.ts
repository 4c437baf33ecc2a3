import { type Closable, expected, parseOptions, UsageError } from "@krait/core";
import { copy, linear, unfoldTime, type Value } from "@krait/graph";
import type { Device } from "@krait/runtime";
import { z } from "zod";
import { kaimingUniform } from "./init.js";
import { expectRows, Model, type ModelBuilder, type ModelOptions } from "./model.js";
import type { Session } from "./session.js";
import type { Blueprint } from "./stack.js";
import type { WeightSource } from "./weights.js";

const TAPS = 3;

const schema = z.strictObject({
  /** Numbers per row that come in: mel bins. */
  bins: z.int().positive().max(65536),
  /** Numbers per row that go out. */
  width: z.int().positive().max(65536),
  /** Rows that become one. */
  factor: z.union([z.literal(1), z.literal(2), z.literal(4), z.literal(8)]).default(2),
  /** Whether the first convolution looks back alone, so that rows can be streamed; Whisper's looks one row ahead. */
  causal: z.boolean().default(true),
});
export type SubsamplerOptions = z.input<typeof schema>;
type Options = z.output<typeof schema>;

interface Convolution {
  name: string;
  input: number;
  stride: 1 | 2;
  before: number;
  /** Rows of the signal to one row of what comes in here. */
  rate: number;
}

/** One over the bins, then one of stride 2 for each halving. Conv `i` reads rows at the signal's rate / `rate`. */
function convolutions({ bins, width, factor, causal }: Options): Convolution[] {
  const halvings = Array.from({ length: Math.log2(factor) }, (_, i): Convolution => {
    return { name: `conv${i + 2}`, input: width, stride: 2, before: 1, rate: 2 ** i };
  });
  return [{ name: "conv1", input: bins, stride: 1, before: causal ? 2 : 1, rate: 1 }, ...halvings];
}

function blueprintOf(options: Options): Blueprint {
  const all = convolutions(options);
  return {
    parameters: all.flatMap(({ name, input }) => {
      const init = kaimingUniform(TAPS * input);
      const shape = [options.width, input, TAPS];
      return [
        { name: `${name}.weight`, shape, programShape: [options.width, input * TAPS], dtype: "weight" as const, init },
        { name: `${name}.bias`, shape: [options.width], dtype: "weight" as const, init },
      ];
    }),
    states: options.causal
      ? all.map(({ name, input, before }) => ({ name, shape: [before, input], dtype: "activation" as const }))
      : [],
    isCausal: options.causal,
  };
}

/** values [T, bins] → features [⌈T / factor⌉, width] per sequence, each convolution with GELU behind it. */
function build(options: Options, { graph, tokens, dtype, tensors, context }: ModelBuilder): void {
  const tensor = (name: string) => tensors.get(name)!;
  const values = graph.input("values", "f32", [tokens, options.bins]);
  let x: Value = dtype === "f32" ? values : copy(values, dtype);
  let { cuSeqlens } = context;
  const all = convolutions(options);
  for (const [i, { name, stride, before, rate }] of all.entries()) {
    const carried = options.causal && {
      state: tensor(name),
      stateIndex: context.stateIndex,
      position: rate === 1 ? context.position : graph.input(`position${rate}`, "i64", context.position.shape),
    };
    const rows = unfoldTime({ x, cuSeqlens, ...carried }, { width: TAPS, stride, before });
    cuSeqlens = rows.cuSeqlens;
    const inputs = { x: rows.y, weight: tensor(`${name}.weight`), bias: tensor(`${name}.bias`) };
    const outDtype = i === all.length - 1 ? "f32" : dtype;
    x = linear(inputs, { activation: "gelu", outDtype }).y;
  }
  graph.output("features", x);
}

/**
 * Strided convolutions over time in front of an encoder: log-mel frames to rows of a lower rate, as Whisper's two and the stacks of them in
 * speech encoders. A causal one streams: runs of whole strides give the rows of the whole signal, borders included.
 */
export class Subsampler implements Closable {
  private constructor(
    private readonly options: Options,
    private readonly model: Model,
  ) {}

  /** @throws UsageError (INVALID_OPTION), InputError (TENSOR_*, WEIGHT_NOT_FINITE) */
  static async create(
    device: Device,
    options: SubsamplerOptions,
    source: WeightSource,
    model: Omit<ModelOptions, "contextTokens"> = {},
  ): Promise<Subsampler> {
    const parsed = parseOptions(schema, options, "the subsampler");
    const built = await Model.create(
      device,
      "subsampler",
      blueprintOf(parsed),
      source,
      (builder) => build(parsed, builder),
      model,
    );
    return new Subsampler(parsed, built);
  }

  /** Numbers per row that goes out. */
  get width(): number {
    return this.options.width;
  }

  /** Rows that become one. */
  get factor(): number {
    return this.options.factor;
  }

  /** A signal in parts. Throws `UsageError` (NOT_CAUSAL, NO_FREE_SLOT). */
  open(): Promise<Session> {
    return this.model.open();
  }

  /**
   * @param values rows [T, bins], the signals one after the other
   * @param lengths rows of each signal; one signal when absent
   * @param sessions signals that go on; all parts of one but its last are whole multiples of `factor`
   * @returns rows [Σ⌈length / factor⌉, width]
   * @throws UsageError (PART_NOT_WHOLE and what `StackModel.run` throws), AbortedError
   */
  async run(
    values: Float32Array,
    {
      lengths = [values.length / this.options.bins],
      sessions = [],
      signal,
    }: {
      lengths?: readonly number[];
      sessions?: readonly (Session | undefined)[];
      signal?: AbortSignal | undefined;
    } = {},
  ): Promise<Float32Array> {
    const { factor, causal } = this.options;
    expectRows(values, lengths, this.options.bins);
    const positions = lengths.map((_, i) => sessions[i]?.nextPosition ?? 0);
    const cut = positions.find((position) => position % factor !== 0);
    if (cut !== undefined) {
      throw new UsageError(expected(`a multiple of ${factor} rows`, "the parts of a signal before this one", cut), {
        code: "PART_NOT_WHOLE",
        hint: "Only the last part of a signal may end within a stride: keep the rest for the part behind it.",
      });
    }
    const rates = convolutions(this.options).filter(({ rate }) => causal && rate > 1);
    const at = rates.map(({ rate }) => [`position${rate}`, BigInt64Array.from(positions, (p) => BigInt(p / rate))]);
    const inputs = { values, ...Object.fromEntries(at) };
    const { features } = await this.model.run({ lengths, sessions, inputs, signal });
    return features as Float32Array;
  }

  close(): void {
    this.model.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
