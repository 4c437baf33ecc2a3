import {
  AbortedError,
  type Closable,
  type DType,
  dtypeSize,
  expected,
  newTypedArray,
  type TypedArray,
  throwIfAborted,
  UsageError,
} from "@krait/core";
import {
  deriveBorders,
  type EncodedProgram,
  encode,
  type Graph,
  type Plan,
  plan,
  type Sym,
  type Value,
  verify,
} from "@krait/graph";
import type { DeviceBuffer } from "./device.js";
import { fromNative } from "./from-native.js";
import type { NativeBuffer, NativeDevice, NativeProgram } from "./native.js";

export interface LoadOptions {
  /** Buffers for parameters and states, by name; more can be bound later. */
  buffers?: Record<string, DeviceBuffer>;
  /** Unused bytes after every value of the arena, for tests. */
  guardBytes?: number;
}

export interface RunOptions {
  /** Values of the program's symbols; derived ones follow from the borders. */
  symbols: Record<string, number>;
  inputs: Record<string, TypedArray>;
  /** Buffers that replace bound ones in this run. */
  buffers?: Record<string, DeviceBuffer>;
  signal?: AbortSignal | undefined;
}

/** A program on a device. One run is one asynchronous native call. */
export class Program implements Closable {
  private readonly buffers = new Map<string, DeviceBuffer>();
  private closed = false;

  /** @internal */
  constructor(
    readonly graph: Graph,
    private readonly planned: Plan,
    private readonly encoded: EncodedProgram,
    private readonly native: NativeProgram,
  ) {}

  /** Bytes of device memory that the program holds for inputs, outputs and intermediates. */
  get arenaBytes(): number {
    return this.encoded.arenaBytes;
  }

  /** Binds buffers to parameters and states. */
  bind(buffers: Record<string, DeviceBuffer>): void {
    for (const [name, buffer] of Object.entries(buffers)) {
      const kind = this.graph.bindings.get(name)?.binding?.kind;
      if (kind !== "parameter" && kind !== "state") {
        throw new UsageError(expected("a parameter or state", `a binding of ${this.graph.name}`, name), {
          code: "INVALID_BINDING",
          hint: "Inputs go with each run.",
        });
      }
      this.buffers.set(name, buffer);
    }
  }

  /**
   * Runs once and returns the outputs, each shaped by the symbols' values. Inputs are copied before the call returns.
   * Throws `UsageError` for missing or wrongly sized inputs, `AbortedError` when the signal fires.
   */
  async run({ symbols, inputs, buffers = {}, signal }: RunOptions): Promise<Record<string, TypedArray>> {
    const what = `a run of ${this.graph.name}`;
    throwIfAborted(signal, what);
    if (this.closed)
      throw new UsageError(`Expected an open program for ${what} but received one that is closed`, { code: "CLOSED" });
    const values = this.symbolValues(symbols, inputs);
    const shapeOf = (value: Value) => value.shape.map((d) => d.evaluate((s) => values.get(s)!));
    const count = (value: Value) => shapeOf(value).reduce((a, b) => a * b, 1);
    const given: TypedArray[] = [];
    const results: Record<string, TypedArray> = {};
    const bound: NativeBuffer[] = [];
    for (const value of this.encoded.bindings) {
      const { kind, name } = value.binding!;
      if (kind === "input") {
        given.push(this.checkInput(name, value, count(value), inputs[name]));
      } else if (kind === "output") {
        results[name] = newTypedArray(value.dtype, count(value));
      } else {
        const buffer = buffers[name] ?? this.buffers.get(name);
        if (!buffer) {
          throw new UsageError(expected("a bound buffer", `${kind} ${name} of ${this.graph.name}`, undefined), {
            code: "INVALID_BINDING",
            hint: "Bind it with bind() or the run's buffers.",
          });
        }
        bound.push(buffer.native);
      }
    }
    const run = this.native.run({
      symbols: this.encoded.symbols.map((s) => values.get(s)!),
      inputs: given,
      outputs: Object.values(results),
      buffers: bound,
    });
    signal?.addEventListener("abort", run.cancel, { once: true });
    try {
      await run.done;
      // It may have finished before the flag was read: whoever aborted still gets the one outcome.
      throwIfAborted(signal, what);
    } catch (error) {
      if (signal?.aborted) throw new AbortedError(what, signal.reason);
      throw fromNative(error, what);
    } finally {
      signal?.removeEventListener("abort", run.cancel);
    }
    return results;
  }

  /** The unused bytes after each arena value, [end, limit). @internal for tests. */
  guardRanges(): { name: string; end: number; limit: number }[] {
    const { offsets, guardBytes } = this.planned;
    return [...offsets].map(([value, offset]) => {
      const end = offset + value.elements.capacity * dtypeSize(value.dtype);
      return { name: value.label, end, limit: end + guardBytes };
    });
  }

  /** The arena itself. @internal for tests that poison it and look at its guards. */
  arena(): NativeBuffer {
    return this.native.arena();
  }

  close(): void {
    this.closed = true;
    this.native.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private symbolValues(given: Record<string, number>, inputs: Record<string, TypedArray>): Map<Sym, number> {
    const values = new Map<Sym, number>();
    const borders = new Map<Value, ArrayLike<number>>();
    const bordersOf = (source: Value): ArrayLike<number> => {
      const known = borders.get(source);
      if (known) return known;
      const name = source.binding?.name;
      if (name !== undefined) return (inputs[name] ?? new Int32Array(1)) as Int32Array;
      // Borders made by an op: the host repeats the rule of the op that made them.
      const total = this.graph.totalOf(source);
      const upstream = this.graph.derived.find((d) => total?.symbols.has(d.symbol));
      const derived = upstream ? deriveBorders(bordersOf(upstream.source), upstream.rule) : new Int32Array(1);
      borders.set(source, derived);
      return derived;
    };
    for (const symbol of this.encoded.symbols) {
      const rule = this.graph.derived.find((d) => d.symbol === symbol);
      const all = rule ? deriveBorders(bordersOf(rule.source), rule.rule) : undefined;
      const value = all ? all[all.length - 1]! : given[symbol.name];
      if (value === undefined || !Number.isSafeInteger(value) || value < 0 || value > symbol.capacity) {
        throw new UsageError(expected(`an integer from 0 to ${symbol.capacity}`, `symbol ${symbol.name}`, value), {
          code: "SYMBOL_OUT_OF_RANGE",
          hint: "Split the run, or trace the program with a larger capacity.",
        });
      }
      values.set(symbol, value);
    }
    return values;
  }

  private checkInput(name: string, value: Value, elements: number, data: TypedArray | undefined): TypedArray {
    const right =
      data && data.length === elements && data.BYTES_PER_ELEMENT === dtypeSize(value.dtype) && fits(value.dtype, data);
    if (!right) {
      const received = data ? `${data.constructor.name} of ${data.length}` : undefined;
      throw new UsageError(
        expected(`${elements} elements of ${value.dtype}`, `input ${name} of ${this.graph.name}`, received),
        {
          code: "SHAPE_MISMATCH",
          hint: `${value} at these symbol values.`,
        },
      );
    }
    return data;
  }
}

function fits(dtype: DType, data: TypedArray): boolean {
  return newTypedArray(dtype, 0).constructor === data.constructor;
}

/** @internal use Device.load */
export async function loadProgram(device: NativeDevice, graph: Graph, options: LoadOptions): Promise<Program> {
  verify(graph);
  const planned = plan(graph, { guardBytes: options.guardBytes ?? 0 });
  const encoded = encode(planned);
  let native: NativeProgram;
  try {
    native = await device.load(encoded.bytes);
  } catch (error) {
    throw fromNative(error, `loading program ${graph.name} with ${encoded.arenaBytes} bytes of working memory`);
  }
  const program = new Program(graph, planned, encoded, native);
  program.bind(options.buffers ?? {});
  return program;
}
