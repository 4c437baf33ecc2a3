import { dtypeSize, InternalError } from "@krait/core";
import { abiHash, dtypeCodes, operandsOf, opNumber } from "./abi.js";
import { Expr, type Sym } from "./expr.js";
import type { Attributes, WireAttribute } from "./op.js";
import { type Plan, viewByteOffset } from "./plan.js";
import type { BindingKind, IndexRole, Node, Value } from "./value.js";

const MAGIC = 0x3130304b_49415254n; // any change of layout changes it
const bindingCodes: Record<BindingKind, number> = { input: 0, output: 1, parameter: 2, state: 3 };
const roleCodes: Record<IndexRole["kind"], number> = { cuSeqlens: 1, range: 2, slots: 3 };

/** Appends 8-byte words; integers and doubles share the buffer. */
class Words {
  private readonly words: bigint[] = [];
  private readonly scratch = new DataView(new ArrayBuffer(8));

  int(...values: (number | bigint)[]): void {
    for (const v of values) this.words.push(BigInt.asIntN(64, BigInt(v)));
  }

  double(value: number): void {
    this.scratch.setFloat64(0, value, true);
    this.words.push(this.scratch.getBigInt64(0, true));
  }

  finish(): ArrayBuffer {
    return BigInt64Array.from(this.words).buffer as ArrayBuffer;
  }
}

/** A program as the native side takes it: one flat buffer of little-endian 8-byte words, plus the order of names. */
export interface EncodedProgram {
  bytes: ArrayBuffer;
  arenaBytes: number;
  /** Order of symbol values in a run: given ones and derived ones. */
  symbols: readonly Sym[];
  /** Order of bindings: inputs and outputs live in the arena, parameters and states are bound buffers. */
  bindings: readonly Value[];
}

/** Layout: kernels/executor/program.cpp reads what this writes. */
export function encode(plan: Plan): EncodedProgram {
  const { graph } = plan;
  const symbols = graph.symbols;
  const symbolIndex = new Map(symbols.map((s, i) => [s, i]));
  const bindings = [...graph.bindings.values()];
  const buffers = bindings.filter((v) => v.binding?.kind === "parameter" || v.binding?.kind === "state");
  const bufferIndex = new Map(buffers.map((v, i) => [v, i]));
  const nodes = graph.nodes.filter((n) => !n.op.isView);
  const words = new Words();

  const dim = (value: Expr) => {
    const terms = [...value.terms.values()].filter((t) => t.symbols.length > 0);
    words.int(value.terms.get("")?.coefficient ?? 0, terms.length);
    for (const { coefficient, symbols } of terms) {
      if (symbols.length !== 1)
        throw new InternalError(`Expected an affine dimension for encoding but received ${value}`);
      words.int(coefficient, symbolIndex.get(symbols[0]!)!);
    }
  };

  words.int(MAGIC);
  for (let i = 0; i < 4; i++) words.int(BigInt(`0x${abiHash.slice(16 * i, 16 * i + 16)}`));
  words.int(plan.arenaBytes, symbols.length, buffers.length, graph.values.length, bindings.length, nodes.length);

  for (const symbol of symbols) {
    const derived = graph.derived.find((d) => d.symbol === symbol);
    words.int(symbol.capacity, derived ? derived.source.id : -1, derived?.rule.add ?? 0, derived?.rule.by ?? 1);
  }
  for (const value of graph.values) {
    const code = dtypeCodes[value.dtype];
    if (code === undefined)
      throw new InternalError(`Expected a program dtype for ${value} but received ${value.dtype}`);
    const slot = bufferIndex.get(value.storage);
    const base = plan.offsets.get(value.storage);
    if (slot === undefined && base === undefined)
      throw new InternalError(`Expected a place for ${value} but received none`);
    words.int(code, value.shape.length, slot === undefined ? -1 : slot, slot === undefined ? base! : 0);
    words.int(viewByteOffset(value), value.storage.elements.capacity * dtypeSize(value.dtype));
    value.shape.forEach(dim);
    words.int(...value.strides);
  }
  for (const value of bindings) {
    const { kind, role } = value.binding!;
    words.int(bindingCodes[kind], value.id, role ? roleCodes[role.kind] : 0);
    words.int(role && role.kind !== "cuSeqlens" ? role.low : 0);
    dim(role ? (role.kind === "cuSeqlens" ? role.total : role.high) : Expr.of(0));
  }
  for (const node of nodes) encodeNode(words, node, plan);
  return { bytes: words.finish(), arenaBytes: plan.arenaBytes, symbols, bindings };
}

function encodeNode(words: Words, node: Node, plan: Plan): void {
  words.int(opNumber(node.op), node.op.wire.length);
  for (const attribute of node.op.wire) encodeAttribute(words, attribute, node.attributes);
  const operands = operandsOf(node.op);
  words.int(operands.length);
  for (const { name, isOutput } of operands) words.int((isOutput ? node.outputs[name] : node.inputs[name])?.id ?? -1);
  words.int(plan.scratchOffsets.get(node) ?? 0, node.scratch.capacity);
}

function encodeAttribute(words: Words, { name, type, choices }: WireAttribute, attributes: Attributes): void {
  const value = attributes[name]!;
  if (type === "f64") words.double(value as number);
  else if (type === "enum") words.int(choices!.indexOf(value as string));
  else words.int(Number(value));
}
