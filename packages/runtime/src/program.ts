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
  viewTypedArray,
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
import type { NativeBuffer, NativeDevice, NativeProgram, NativeRequest } from "./native.js";

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

export interface MeasureOptions {
  warmup?: number;
  repeats?: number;
  perOp?: boolean;
}

export interface Measured {
  /** Of each repetition. */
  milliseconds: number[];
  /** In the order of execution; empty without perOp. */
  ops: { op: string; label: string; milliseconds: number }[];
}

const sumOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A program on a device. One run is one asynchronous native call. */
export class Program implements Closable {
  private readonly buffers = new Map<string, DeviceBuffer>();
  private closed = false;

  /** @internal `device` is held because a device that nothing refers to closes. */
  constructor(
    readonly graph: Graph,
    readonly device: NativeDevice,
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
   * Throws `UsageError` for missing or wrongly sized inputs, `AbortedError` when the signal fires, `InputError` (FILE_CHANGED) when a
   * mapped file that it reads is no longer as it was.
   */
  async run(options: RunOptions): Promise<Record<string, TypedArray>> {
    const { signal } = options;
    const what = `a run of ${this.graph.name}`;
    throwIfAborted(signal, what);
    const { request, outputs } = this.prepare(options);
    let cancel = () => {};
    try {
      const run = this.native.run(request);
      cancel = run.cancel;
      signal?.addEventListener("abort", cancel, { once: true });
      const bytes = await run.done;
      // It may have finished before the flag was read: whoever aborted still gets the one outcome.
      throwIfAborted(signal, what);
      return Object.fromEntries(
        outputs.map(({ name, dtype }, i) => [
          name,
          viewTypedArray(dtype, bytes[i]!, 0, bytes[i]!.byteLength / dtypeSize(dtype)),
        ]),
      );
    } catch (error) {
      if (signal?.aborted) throw new AbortedError(what, signal.reason);
      throw fromNative(error, what);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /**
   * Times the ops by the device's own clock, without copies in and out: milliseconds of each repetition, and of each op
   * (median over the repetitions) with `perOp`. States move on with every repetition.
   */
  async measure(
    options: RunOptions,
    { warmup = 3, repeats = 10, perOp = false }: MeasureOptions = {},
  ): Promise<Measured> {
    const { request } = this.prepare(options);
    const times = await this.native
      .measure(request, { warmup, repeats, perOp })
      .catch((error: unknown) => Promise.reject(fromNative(error, `measuring ${this.graph.name}`)));
    if (!perOp) return { milliseconds: times, ops: [] };
    const nodes = this.graph.nodes.filter((n) => !n.op.isView);
    const ofNode = (n: number) => Array.from({ length: repeats }, (_, r) => times[r * nodes.length + n]!);
    const ops = nodes.map((node, n) => {
      const label = Object.values(node.outputs)[0]?.label.replace(/\.[^.]*$/, "") ?? node.op.name;
      return { op: node.op.name, label, milliseconds: median(ofNode(n)) };
    });
    return {
      milliseconds: Array.from({ length: repeats }, (_, r) =>
        sumOf(times.slice(r * nodes.length, (r + 1) * nodes.length)),
      ),
      ops,
    };
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

  /** Checks a run's arguments against the graph and puts them into the order of the bindings. */
  private prepare({ symbols, inputs, buffers = {} }: RunOptions): {
    request: NativeRequest;
    outputs: { name: string; dtype: DType; bytes: number }[];
  } {
    const what = `a run of ${this.graph.name}`;
    if (this.closed)
      throw new UsageError(`Expected an open program for ${what} but received one that is closed`, { code: "CLOSED" });
    const values = this.symbolValues(symbols, inputs);
    const count = (value: Value) => value.shape.reduce((n, d) => n * d.evaluate((s) => values.get(s)!), 1);
    const given: TypedArray[] = [];
    const outputs: { name: string; dtype: DType; bytes: number }[] = [];
    const bound: NativeBuffer[] = [];
    for (const value of this.encoded.bindings) {
      const { kind, name } = value.binding!;
      if (kind === "input") {
        given.push(this.checkInput(name, value, count(value), inputs[name]));
      } else if (kind === "output") {
        outputs.push({ name, dtype: value.dtype, bytes: count(value) * dtypeSize(value.dtype) });
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
    const request = {
      symbols: this.encoded.symbols.map((s) => values.get(s)!),
      inputs: given,
      outputs: outputs.map((o) => o.bytes),
      buffers: bound,
    };
    return { request, outputs };
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
  const program = new Program(graph, device, planned, encoded, native);
  program.bind(options.buffers ?? {});
  return program;
}
