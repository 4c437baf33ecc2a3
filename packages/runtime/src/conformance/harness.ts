import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type DType, dtypeSize, fromBf16, InternalError, newTypedArray, type TypedArray, toBf16 } from "@krait/core";
import {
  type Dim,
  type DTypeVariable,
  dtypeVariables,
  Expr,
  Graph,
  interpret,
  kernelOps,
  type Op,
  patternOf,
  type ReferenceTensor,
  slice,
  splitHeads,
  unary,
  type Value,
  verify,
} from "@krait/graph";
import type { Device, DeviceBuffer } from "../device.js";
import type { NativeBuffer } from "../native.js";
import type { Program } from "../program.js";
import { type CaseTable, type CaseTensor, caseKit, type OpCase } from "./cases.js";

/** Relative RMS a kernel may differ from float64, by the dtype of its activations. */
export const commonBounds = { f32: 1e-5, bf16: 1e-2 } as const;
const GUARD_BYTES = 256;
const PADDING = 5; // extra columns on each side of a `wide` operand

export interface CaseResult {
  op: string;
  name: string;
  dtype: "f32" | "bf16";
  /** Largest relative RMS over outputs and states. */
  error: number;
  bound: number;
  failure?: string;
}

/** Every case table beside this file. */
export async function loadCaseTables(): Promise<CaseTable[]> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), "cases");
  const files = readdirSync(folder).filter((f) => /\.(ts|js)$/.test(f) && !f.endsWith(".d.ts"));
  const tables = files
    .sort()
    .map(async (f) => (await import(pathToFileURL(join(folder, f)).href)).default as CaseTable);
  return Promise.all(tables);
}

export function tableCases(table: CaseTable, seed: number): OpCase[] {
  return table.cases(caseKit(seed));
}

/** Ops with kernels that no table covers. */
export function uncovered(tables: readonly CaseTable[]): string[] {
  return kernelOps.map((op) => op.name).filter((name) => !tables.some((t) => t.op === name));
}

/** A program and what is bound to it. */
export interface Built {
  graph: Graph;
  symbols: Record<string, number>;
  /** Host data of inputs, parameters and states as the reference sees it: already rounded to the dtype. */
  data: Record<string, Float64Array>;
  dtypes: Record<string, DType>;
  /** Whether operands that could be weights are parameters. */
  asWeights?: boolean;
}

/** Where the operands lie that could be a model's weights: those that no op writes and whose shape no symbol bears on. */
export type Placement = (data: TypedArray) => Promise<DeviceBuffer>;

export const round = (dtype: DType, x: number) =>
  dtype === "bf16" ? fromBf16(toBf16(x)) : dtype === "f32" ? Math.fround(x) : x;

function kernelOp(name: string): Op {
  const op = kernelOps.find((o) => o.name === name);
  if (!op) throw new InternalError(`Expected an op with kernels for a case but received ${name}`);
  return op;
}

/** A program of one op, or two, around a case. */
function build(op: Op, test: OpCase, float: "f32" | "bf16", asWeights: boolean): Built {
  const graph = new Graph(`${op.name} ${test.name}`);
  const built: Built = { graph, symbols: { ...test.symbols }, data: {}, dtypes: {}, asWeights };
  // A capacity above the value, so that a kernel which confuses the two is caught.
  for (const [name, value] of Object.entries(built.symbols)) graph.symbol(name, value + 3);
  const { behind } = test;
  const results = addOp(built, op, test, float, "", {}, !behind?.alone);
  if (behind) addOp(built, kernelOp(behind.op), behind, float, "behind.", { [behind.reads ?? "x"]: results.y! });
  for (const name of behind?.alone ?? []) {
    graph.output(`${name} read again`, unary({ x: graph.bindings.get(name)! }, { kind: "relu" }).y);
  }
  verify(graph);
  return built;
}

/** Calls an op with a case's operands, whose names in the program get the prefix, and with `given` values; its results are outputs if `shown`. */
function addOp(
  { graph, symbols, data, dtypes, asWeights }: Built,
  op: Op,
  test: Pick<OpCase, "inputs" | "attributes" | "wide">,
  float: "f32" | "bf16",
  prefix: string,
  given: Record<string, Value>,
  shown = true,
): Record<string, Value> {
  const symbolOf = new Map(graph.symbols.map((symbol) => [symbol.name, symbol]));
  const values: Record<string, Value> = { ...given };
  for (const [operandName, operand] of Object.entries(op.inputs)) {
    const tensor = test.inputs[operandName];
    if (!tensor) continue;
    const name = prefix + operandName;
    const variable = operand.dtype in dtypeVariables ? (operand.dtype as DTypeVariable) : undefined;
    const dtype = variable === undefined ? (operand.dtype as DType) : variable === "P" ? pixelDType(tensor) : float;
    const shape: Dim[] = patternOf(operand).map(({ letter, plus }, axis) => {
      const symbol = axis === 0 && letter !== undefined ? symbolOf.get(letter) : undefined;
      if (!symbol) return tensor.shape[axis]!;
      const dim = symbols[letter!]! + plus;
      if (dim !== tensor.shape[axis]) {
        throw new InternalError(`Expected ${dim} rows for ${name} of ${graph.name} but received ${tensor.shape[axis]}`);
      }
      return plus === 0 ? symbol : graphDim(symbol, plus);
    });
    const isWide = test.wide?.includes(operandName) ?? false;
    const stored = isWide ? widen(tensor) : tensor;
    data[name] = stored.data.map((v) => round(dtype, v));
    dtypes[name] = dtype;
    const declare = () => {
      if (operand.inout) return graph.state(name, dtype, shape);
      if (operandName === "cuSeqlens") return graph.cuSeqlens(name, minusOne(shape[0]!), symbolOf.get("T")!);
      if (isWide) return narrow(graph, name, dtype, shape, stored.shape[1]!);
      const isWeight = asWeights && variable !== "P" && !isInteger(dtype) && shape.every((d) => typeof d === "number");
      return isWeight ? graph.parameter(name, dtype, shape) : graph.input(name, dtype, shape);
    };
    values[operandName] = declare();
  }
  const results = graph.call(op, values, test.attributes ?? {});
  for (const output of Object.keys(op.outputs).filter((name) => shown && results[name])) {
    // An output whose name an input has already (borders that framing emits) gets a mark.
    const name = prefix + output;
    graph.output(graph.bindings.has(name) ? `out:${name}` : name, results[output]!);
  }
  return results;
}

const pixelDType = (t: CaseTensor): DType =>
  t.data.every((v) => Number.isInteger(v) && v >= 0 && v < 256) ? "u8" : "f32";
const isInteger = (dtype: DType) => dtype !== "f32" && dtype !== "bf16";
const graphDim = (symbol: Dim, plus: number): Dim => Expr.of(symbol).plus(plus);
const minusOne = (dim: Dim): Dim => (typeof dim === "number" ? dim - 1 : Expr.of(dim).plus(-1));

function widen(t: CaseTensor): CaseTensor {
  const width = t.shape.slice(1).reduce((a, b) => a * b, 1);
  const rows = t.shape[0]!;
  const wide = new Float64Array(rows * (width + 2 * PADDING)).fill(1e30);
  for (let r = 0; r < rows; r++)
    wide.set(t.data.subarray(r * width, (r + 1) * width), r * (width + 2 * PADDING) + PADDING);
  return { shape: [rows, width + 2 * PADDING], data: wide };
}

function narrow(graph: Graph, name: string, dtype: DType, shape: Dim[], wideWidth: number): Value {
  const wide = graph.input(name, dtype, [shape[0]!, wideWidth]);
  const { y } = slice({ x: wide }, { start: PADDING, length: wideWidth - 2 * PADDING });
  return shape.length === 3 ? splitHeads({ x: y }, { heads: shape[1] as number }).y : y;
}

function toDevice(dtype: DType, data: Float64Array): TypedArray {
  const out = newTypedArray(dtype, data.length);
  for (let i = 0; i < data.length; i++) {
    if (dtype === "bf16") out[i] = toBf16(data[i]!);
    else if (dtype === "i64") (out as BigInt64Array)[i] = BigInt(data[i]!);
    else out[i] = data[i]!;
  }
  return out;
}

function fromDevice(dtype: DType, data: TypedArray): Float64Array {
  return Float64Array.from(data as ArrayLike<number>, (v) => (dtype === "bf16" ? fromBf16(v) : Number(v)));
}

/** ‖a − b‖ / ‖b‖; infinite when anything is NaN, absolute when b is zero. */
export function relativeRms(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  const error = norm > 0 ? Math.sqrt(difference / norm) : Math.sqrt(difference);
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

/**
 * Runs one case on the device and compares outputs, states and guards with the float64 reference.
 *
 * @param place puts operands that could be weights into memory of its choice; a case without any is not run
 */
export async function runCase(
  device: Device,
  opName: string,
  test: OpCase,
  dtype: "f32" | "bf16",
  place?: Placement,
): Promise<CaseResult> {
  const op = kernelOp(opName);
  const bound = test.bounds?.[dtype] ?? commonBounds[dtype];
  const result: CaseResult = { op: opName, name: test.name, dtype, error: 0, bound };
  try {
    const built = build(op, test, dtype, place !== undefined);
    if (place && ![...built.graph.bindings.values()].some((v) => v.binding?.kind === "parameter")) return result;
    const oracle = interpret(built.graph, built.symbols, built.data);
    // Guards keep every value's memory apart; here it is to be shared.
    const got = await runOnDevice(device, built, test.behind?.alone ? 0 : GUARD_BYTES, place);
    if (got.breach) return { ...result, error: Number.POSITIVE_INFINITY, failure: got.breach };
    const compare = (name: string, a: Float64Array, b: ReferenceTensor) => {
      const error = relativeRms(a, b.data);
      result.error = Math.max(result.error, error);
      if (!(error <= bound)) result.failure = `${name} differs by ${error.toExponential(2)}, bound ${bound}`;
    };
    for (const [name, want] of Object.entries(oracle.outputs)) compare(name, got.outputs[name]!, want);
    for (const [name, want] of Object.entries(oracle.states)) compare(`state ${name}`, got.states[name]!, want);
  } catch (error) {
    result.error = Number.POSITIVE_INFINITY;
    result.failure = error instanceof Error ? error.message : String(error);
  }
  return result;
}

interface DeviceResult {
  outputs: Record<string, Float64Array>;
  /** Parameters too. */
  states: Record<string, Float64Array>;
  breach?: string;
}

/** One run from memory of NaNs, with guards behind every value that kernels write, unless they are of no bytes. */
export async function runOnDevice(
  device: Device,
  { graph, symbols, data, dtypes }: Built,
  guardBytes = GUARD_BYTES,
  place?: Placement,
): Promise<DeviceResult> {
  const program = await device.load(graph, { guardBytes });
  const stateBuffers: Record<string, DeviceBuffer> = {};
  const weights: Record<string, DeviceBuffer> = {};
  try {
    // Whatever no kernel writes stays a NaN, and whatever is written beyond an end can be seen.
    const arena = program.arena();
    await arena.fill(0xff, 0, arena.bytes);
    const inputs: Record<string, TypedArray> = {};
    for (const [name, value] of graph.bindings) {
      if (value.binding!.kind === "output") continue;
      const host = toDevice(dtypes[name]!, data[name]!);
      if (value.binding!.kind === "input") {
        inputs[name] = host;
        continue;
      }
      if (place && value.binding!.kind === "parameter") {
        weights[name] = await place(host);
        continue;
      }
      const buffer = await device.allocate(host.byteLength + 2 * GUARD_BYTES);
      await buffer.fill(0xff);
      await buffer.write(host);
      stateBuffers[name] = buffer;
    }
    program.bind({ ...stateBuffers, ...weights });
    const raw = await program.run({ symbols, inputs });
    const outputs: Record<string, Float64Array> = {};
    for (const [name, array] of Object.entries(raw)) outputs[name] = fromDevice(graph.bindings.get(name)!.dtype, array);
    const states: Record<string, Float64Array> = {};
    for (const [name, buffer] of Object.entries(stateBuffers)) {
      const dtype = dtypes[name]!;
      states[name] = fromDevice(dtype, await buffer.read(newTypedArray(dtype, data[name]!.length)));
      const bytes = data[name]!.length * dtypeSize(dtype);
      const guard = await buffer.read(new Uint8Array(buffer.bytes - bytes), bytes);
      if (guard.some((b) => b !== 0xff)) return { outputs, states, breach: `a write beyond the end of state ${name}` };
    }
    const breach = await guardBreach(program, arena);
    return breach ? { outputs, states, breach } : { outputs, states };
  } finally {
    program.close();
    for (const buffer of [...Object.values(stateBuffers), ...Object.values(weights)]) buffer.close();
  }
}

/** A write after the end of any arena value, or before the first. */
async function guardBreach(program: Program, arena: NativeBuffer): Promise<string | undefined> {
  const bytes = new Uint8Array(arena.bytes);
  await arena.read(bytes, 0);
  for (const { name, end, limit } of program.guardRanges()) {
    for (let i = end; i < limit; i++)
      if (bytes[i] !== 0xff) return `a write ${i - end} bytes beyond the end of ${name}`;
  }
  return undefined;
}
