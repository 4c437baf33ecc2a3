import { type Attributes, Graph, kernelOps } from "@krait/graph";
import { generator } from "../src/conformance/cases.js";
import type { Device, DeviceBuffer, Program } from "../src/index.js";

export const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);

export interface StreamSpec {
  op: string;
  attributes: Attributes;
  /** Operands with one row per token: the shape of a row. */
  tokens: Record<string, number[]>;
  /** Operands that stay the same. */
  fixed: Record<string, { shape: number[]; data: Float32Array }>;
  /** Pools of carried state: the shape of a slot. */
  states: Record<string, number[]>;
  /** Whether the op takes the sequences' positions. */
  hasPosition?: boolean;
  slots: number;
  maxTokens: number;
  maxSequences: number;
}

/** One sequence's share of a run: tokens [from, to) of a stream. */
export interface Share {
  stream: Record<string, Float32Array>;
  from: number;
  to: number;
  slot: number;
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** A program of one op that carries state, run over any pieces of any streams. */
export class StreamOp {
  private constructor(
    private readonly spec: StreamSpec,
    private readonly program: Program,
    private readonly buffers: Record<string, DeviceBuffer>,
  ) {}

  static async open(device: Device, spec: StreamSpec): Promise<StreamOp> {
    const graph = new Graph(spec.op);
    const T = graph.symbol("T", spec.maxTokens);
    const S = graph.symbol("S", spec.maxSequences);
    const inputs = {
      ...mapValues(spec.tokens, (row, name) => graph.input(name, "f32", [T, ...row])),
      ...mapValues(spec.fixed, ({ shape }, name) => graph.input(name, "f32", shape)),
      ...mapValues(spec.states, (slot, name) => graph.state(name, "f32", [spec.slots, ...slot])),
      cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
      stateIndex: graph.slots("stateIndex", S, spec.slots),
      ...(spec.hasPosition && { position: graph.input("position", "i64", [S]) }),
    };
    const op = kernelOps.find((o) => o.name === spec.op)!;
    graph.output("out", graph.call(op, inputs, spec.attributes).y!);
    const buffers: Record<string, DeviceBuffer> = {};
    for (const [name, slot] of Object.entries(spec.states))
      buffers[name] = await device.zeros(4 * spec.slots * size(slot));
    return new StreamOp(spec, await device.load(graph, { buffers }), buffers);
  }

  /** The outputs of each share. Positions count from the start of each stream, plus `offset`. */
  async run(shares: readonly Share[], offset = 0): Promise<Float32Array[]> {
    const lengths = shares.map((s) => s.to - s.from);
    const T = lengths.reduce((a, b) => a + b, 0);
    const borders = Int32Array.from([0, ...lengths]);
    for (let i = 1; i < borders.length; i++) borders[i]! += borders[i - 1]!;
    const { out } = await this.program.run({
      symbols: { T, S: shares.length },
      inputs: {
        ...mapValues(this.spec.tokens, (row, name) =>
          concatenate(shares.map((s) => s.stream[name]!.subarray(s.from * size(row), s.to * size(row)))),
        ),
        ...mapValues(this.spec.fixed, ({ data }) => data),
        cuSeqlens: borders,
        stateIndex: Int32Array.from(shares, (s) => s.slot),
        ...(this.spec.hasPosition && { position: BigInt64Array.from(shares, (s) => BigInt(s.from + offset)) }),
      },
    });
    const width = T > 0 ? out!.length / T : 0;
    return shares.map((_, i) => (out as Float32Array).slice(borders[i]! * width, borders[i + 1]! * width));
  }

  /** A stream run piece by piece in one slot. */
  async stream(stream: Share["stream"], cuts: readonly number[], slot: number, offset = 0): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    for (let i = 0; i + 1 < cuts.length; i++) {
      parts.push(...(await this.run([{ stream, from: cuts[i]!, to: cuts[i + 1]!, slot }], offset)));
    }
    return concatenate(parts);
  }

  /** What a slot holds, all pools after each other. */
  async state(slot: number): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    for (const [name, shape] of Object.entries(this.spec.states)) {
      parts.push(await this.buffers[name]!.read(new Float32Array(size(shape)), 4 * slot * size(shape)));
    }
    return concatenate(parts);
  }

  async clear(): Promise<void> {
    for (const buffer of Object.values(this.buffers)) await buffer.fill(0);
  }

  /** Sets every slot of every pool to the same random contents for the same seed. */
  async fillStates(next: () => number): Promise<void> {
    for (const [name, shape] of Object.entries(this.spec.states)) {
      await this.buffers[name]!.write(
        Float32Array.from({ length: this.spec.slots * size(shape) }, () => 2 * next() - 1),
      );
    }
  }

  close(): void {
    this.program.close();
    for (const buffer of Object.values(this.buffers)) buffer.close();
  }
}

export const uniform = (next: () => number, length: number, low = -1, high = 1): Float32Array =>
  Float32Array.from({ length }, () => low + (high - low) * next());

/** Ascending cuts 0 … length at multiples of `unit`, some of them next to each other. */
export function randomCuts(next: () => number, length: number, unit = 1): number[] {
  const cuts = [0];
  while (cuts.at(-1)! < length) {
    const step = next() < 0.4 ? 1 : 1 + Math.floor((next() * 100) / unit);
    cuts.push(Math.min(length, cuts.at(-1)! + step * unit));
  }
  return cuts;
}

/** Elements whose bits differ; all of them when the lengths do. */
export function differingBits(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Math.max(a.length, b.length);
  const [x, y] = [a, b].map((v) => new Uint32Array(v.buffer, v.byteOffset, v.length));
  return x!.reduce((count, bits, i) => count + (bits === y![i] ? 0 : 1), 0);
}

export function concatenate(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function mapValues<A, B>(record: Record<string, A>, f: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value, key)]));
}

export { generator };
