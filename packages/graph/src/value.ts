import { type DType, dtypeSize, expected, parseOptions, UsageError } from "@krait/core";
import { type Dim, Expr, type LengthRule, product, Sym } from "./expr.js";
import { type Attributes, type Dims, type DTypeVariable, dtypeVariables, type Op, type Operand } from "./op.js";
import { holds, namesIn, type Rule } from "./rules.js";

/** How a value comes into or leaves a program. */
export type BindingKind = "input" | "parameter" | "state" | "output";

/** What a host-side index input may hold; checked natively before every run. */
export type IndexRole =
  | { kind: "cuSeqlens"; total: Expr }
  /** Every element in [low, high). */
  | { kind: "range"; low: number; high: Expr }
  /** State slots: every element in [−1, high), no slot twice. */
  | { kind: "slots"; low: number; high: Expr };

export interface Binding {
  kind: BindingKind;
  name: string;
  role?: IndexRole;
}

export interface Alias {
  /** `view`: the same bytes seen otherwise. `inout`: the next version of an operand updated in place. */
  kind: "view" | "inout";
  of: Value;
}

/** One tensor of a program. Dimension 0 may be symbolic; the inner ones are numbers, so strides are numbers too. */
export class Value {
  binding: Binding | undefined;
  producer: Node | undefined;
  alias: Alias | undefined;

  constructor(
    readonly graph: Graph,
    readonly id: number,
    readonly dtype: DType,
    readonly shape: readonly Expr[],
    /** In elements. */
    readonly strides: readonly number[],
    /** In elements, from the start of the storage. */
    readonly offset: number,
    readonly label: string,
  ) {}

  /** The value whose storage this one lies in. */
  get storage(): Value {
    return this.alias ? this.alias.of.storage : this;
  }

  get isContiguous(): boolean {
    let stride = 1;
    for (let i = this.shape.length - 1; i >= 0; i--) {
      if (this.strides[i] !== stride && this.shape[i]!.constant !== 1) return false;
      if (i > 0) stride *= this.inner(i);
    }
    return true;
  }

  /** A dimension that must be a number. */
  inner(axis: number): number {
    const n = this.shape[axis]?.constant;
    if (n === undefined) {
      throw new UsageError(expected("a constant", `dimension ${axis} of ${this.label}`, String(this.shape[axis])), {
        code: "SYMBOLIC_DIMENSION",
        hint: "Only dimension 0 may be symbolic.",
      });
    }
    return n;
  }

  get elements(): Expr {
    return product(...this.shape);
  }

  toString(): string {
    return `${this.label}: ${this.dtype}[${this.shape.join(", ")}]`;
  }
}

/** One call of an op. */
export interface Node {
  op: Op;
  inputs: Record<string, Value | undefined>;
  outputs: Record<string, Value>;
  attributes: Attributes;
  dims: Dims;
  /** Bytes. */
  scratch: Expr;
}

/** A symbol whose value follows from the sequence borders in `source` at each run. */
export interface DerivedSymbol {
  symbol: Sym;
  source: Value;
  rule: LengthRule;
}

function rowMajor(shape: readonly Expr[], label: string): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) {
    const n = shape[i + 1]!.constant;
    if (n === undefined) {
      throw new UsageError(expected("a constant", `dimension ${i + 1} of ${label}`, String(shape[i + 1])), {
        code: "SYMBOLIC_DIMENSION",
        hint: "Only dimension 0 may be symbolic: pack tokens along it.",
      });
    }
    strides[i] = strides[i + 1]! * n;
  }
  return strides;
}

/** A program under construction: every op call adds a node, in execution order. */
export class Graph {
  readonly values: Value[] = [];
  readonly nodes: Node[] = [];
  readonly symbols: Sym[] = [];
  readonly derived: DerivedSymbol[] = [];
  readonly bindings = new Map<string, Value>();
  /** For borders made by an op: the symbol that counts what lies between the first and the last. */
  private readonly totals = new Map<Value, Expr>();
  private scope = "";

  constructor(readonly name: string) {}

  symbol(name: string, capacity: number): Sym {
    const symbol = new Sym(name, capacity);
    if (this.symbols.some((s) => s.name === name)) {
      throw new UsageError(expected("a new name", `a symbol of program ${this.name}`, name), {
        code: "DUPLICATE_NAME",
        hint: "Every symbol is declared once.",
      });
    }
    this.symbols.push(symbol);
    return symbol;
  }

  /** Data that changes with each run, copied in from the host. */
  input(name: string, dtype: DType, shape: readonly Dim[], role?: IndexRole): Value {
    return this.bind("input", name, dtype, shape, role);
  }

  /** Sequence borders int32 [S+1], checked at each run: first 0, last `total`, never falling. */
  cuSeqlens(name: string, sequences: Dim, total: Dim): Value {
    return this.input(name, "i32", [Expr.of(sequences).plus(1)], { kind: "cuSeqlens", total: Expr.of(total) });
  }

  /** Integers int32 in [low, high), checked at each run. */
  indices(name: string, length: Dim, low: number, high: Dim): Value {
    return this.input(name, "i32", [length], { kind: "range", low, high: Expr.of(high) });
  }

  /** State slots int32 [S]: in [0, count), each at most once, or −1 for a zero state that is not kept. */
  slots(name: string, sequences: Dim, count: Dim): Value {
    return this.input(name, "i32", [sequences], { kind: "slots", low: -1, high: Expr.of(count) });
  }

  /** Weights: bound once to a device buffer. */
  parameter(name: string, dtype: DType, shape: readonly Dim[]): Value {
    return this.bind("parameter", name, dtype, shape);
  }

  /** Memory that lives on between runs: pools of carried state. */
  state(name: string, dtype: DType, shape: readonly Dim[]): Value {
    return this.bind("state", name, dtype, shape);
  }

  /** Names a value as a result, copied to the host after each run. */
  output(name: string, value: Value): void {
    if (this.bindings.has(name)) this.duplicate(name);
    if (value.binding || value.alias || !value.isContiguous) {
      throw new UsageError(expected("a value computed by an op", `output ${name}`, String(value)), {
        code: "INVALID_OUTPUT",
        hint: "Inputs, parameters, states and views cannot be outputs: put a copy() before.",
      });
    }
    value.binding = { kind: "output", name };
    this.bindings.set(name, value);
  }

  /** Prefixes labels while `body` runs, so that messages name the layer. */
  within<R>(scope: string, body: () => R): R {
    const outer = this.scope;
    this.scope = outer ? `${outer}.${scope}` : scope;
    try {
      return body();
    } finally {
      this.scope = outer;
    }
  }

  call(op: Op, inputs: Record<string, Value | undefined>, rawAttributes: unknown): Record<string, Value> {
    const label = this.scope ? `${this.scope}.${op.name}` : op.name;
    const attributes = parseOptions(op.attributes, rawAttributes, label) as Attributes;
    const dims: Dims = {};
    const dtypes: Partial<Record<DTypeVariable, DType>> = {};
    for (const key of Object.keys(inputs)) {
      if (!(key in op.inputs) && inputs[key]) this.mismatch(label, `one of ${Object.keys(op.inputs).join(", ")}`, key);
    }
    for (const [name, operand] of Object.entries(op.inputs)) {
      const value = inputs[name];
      if (!value) {
        if (operand.optional) continue;
        this.mismatch(`${label} ${name}`, "a value", undefined);
      }
      if (value.graph !== this) this.mismatch(`${label} ${name}`, `a value of program ${this.name}`, value.graph.name);
      bindDType(`${label} ${name}`, operand, value, dtypes);
      bindShape(`${label} ${name}`, operand, value, dims);
    }
    const operands = { ...inputs, ...outputsOf(op, inputs) };
    const settled = this.checkRules(label, op, operands, dims, attributes);
    const fresh = op.spec.dims?.(dims, attributes) ?? {};
    const newSymbols: { letter: string; rule: LengthRule }[] = [];
    for (const [letter, dim] of Object.entries(fresh)) {
      if (isLengthRule(dim)) newSymbols.push({ letter, rule: dim });
      else dims[letter] = Expr.of(dim);
    }
    for (const { letter, rule } of newSymbols) dims[letter] = this.derive(label, letter, rule, inputs);
    // The rules that read dimensions which only the record's dims() gives.
    this.checkRules(label, op, operands, dims, attributes, settled);
    Object.assign(dtypes, op.spec.dtypes?.(attributes, dtypes));

    const node: Node = { op, inputs: {}, outputs: {}, attributes, dims, scratch: Expr.of(0) };
    for (const name of Object.keys(op.inputs)) node.inputs[name] = inputs[name];
    for (const [name, operand] of Object.entries(op.outputs)) {
      if (operand.when && !inputs[operand.when]) continue;
      const shape = operandShape(operand, dims);
      if (op.spec.view) {
        const input = Object.values(inputs).find((v) => v !== undefined)!;
        const layout = op.spec.view(input, attributes);
        const exprs = layout.shape.map((d) => Expr.of(d));
        node.outputs[name] = this.add(input.dtype, exprs, layout.strides, layout.offset, `${label}.${name}`);
        node.outputs[name].alias = { kind: "view", of: input };
      } else {
        node.outputs[name] = this.add(outputDType(operand, dtypes, label), shape, undefined, 0, `${label}.${name}`);
      }
      node.outputs[name].producer = node;
    }
    for (const [name, operand] of Object.entries(op.inputs)) {
      const value = inputs[name];
      if (!operand.inout || !value) continue;
      const next = this.add(value.dtype, value.shape, value.strides, value.offset, value.label);
      next.alias = { kind: "inout", of: value };
      next.producer = node;
      node.outputs[name] = next;
    }
    if (newSymbols.length > 0 && node.outputs.cuSeqlens) {
      this.totals.set(node.outputs.cuSeqlens, dims[newSymbols[0]!.letter]!);
    }
    node.scratch = Expr.of(op.spec.scratch?.(dims, attributes) ?? 0);
    this.nodes.push(node);
    return node.outputs;
  }

  /** Bytes and operations of the whole program, symbolic. */
  cost(): { flops: Expr; bytes: Expr } {
    let flops = Expr.of(0);
    let bytes = Expr.of(0);
    for (const node of this.nodes) {
      if (node.op.isView) continue;
      const cost = node.op.spec.cost(node.dims, node.attributes);
      flops = flops.plus(cost.flops);
      bytes = bytes.plus(cost.bytes);
    }
    return { flops, bytes };
  }

  /** What sequence borders add up to. */
  totalOf(cuSeqlens: Value): Expr | undefined {
    const role = cuSeqlens.binding?.role;
    return role?.kind === "cuSeqlens" ? role.total : this.totals.get(cuSeqlens);
  }

  /**
   * Checks the rules whose names are all bound, except those in `done`; returns the checked. Symbols are tried at two sets of values,
   * so that two that only happen to be equal at capacity do not pass for the same.
   */
  private checkRules(
    label: string,
    op: Op,
    operands: Record<string, unknown>,
    dims: Dims,
    attributes: Attributes,
    done: ReadonlySet<Rule> = new Set(),
  ): Set<Rule> {
    const checked = new Set<Rule>();
    const optionalLetters = new Set(
      Object.values(op.inputs)
        .filter((o) => o.optional)
        .flatMap((o) => patternOf(o).map((p) => p.letter)),
    );
    for (const rule of op.spec.rules ?? []) {
      const bound = (name: string) => name in dims || name in attributes || optionalLetters.has(name);
      if (done.has(rule) || ![...namesIn(rule.rule)].every(bound)) continue;
      checked.add(rule);
      for (const shift of [0, 1]) {
        const read = (name: string): number => {
          if (name in attributes) return Number(attributes[name]);
          return dims[name]?.evaluate((s) => s.capacity + shift * (1 + 2 * this.symbols.indexOf(s))) ?? 0;
        };
        if (holds(rule.rule, read, (operand) => operands[operand] !== undefined)) continue;
        const values = [...namesIn(rule.rule)].map(
          (n) => `${n} = ${n in attributes ? attributes[n] : (dims[n] ?? "absent")}`,
        );
        throw new UsageError(`Expected ${rule.expects} for ${label} but received ${values.join(", ")}`, {
          code: "SHAPE_MISMATCH",
          hint: `The rule is ${rule.rule}.`,
        });
      }
    }
    return checked;
  }

  private derive(label: string, letter: string, rule: LengthRule, inputs: Record<string, Value | undefined>): Expr {
    const source = inputs.cuSeqlens;
    if (!source) return this.mismatch(`${label} cuSeqlens`, "sequence borders", undefined);
    // The same borders and rule give the same symbol, so two framings of one signal agree in shape.
    const known = this.derived.find((d) => d.source === source && d.rule.add === rule.add && d.rule.by === rule.by);
    if (known) return Expr.of(known.symbol);
    const tokens = this.totalOf(source)?.capacity;
    if (tokens === undefined)
      return this.mismatch(`${label} cuSeqlens`, "borders declared with cuSeqlens()", source.label);
    const sequences = source.shape[0]!.capacity - 1;
    const capacity = Math.floor((tokens + sequences * Math.max(0, rule.add)) / rule.by);
    const symbol = this.symbol(`${letter}${this.derived.length}`, Math.max(0, capacity));
    this.derived.push({ symbol, source, rule });
    return Expr.of(symbol);
  }

  private bind(kind: BindingKind, name: string, dtype: DType, dims: readonly Dim[], role?: IndexRole): Value {
    if (this.bindings.has(name)) this.duplicate(name);
    const value = this.add(
      dtype,
      dims.map((d) => Expr.of(d)),
      undefined,
      0,
      name,
    );
    value.binding = role ? { kind, name, role } : { kind, name };
    this.bindings.set(name, value);
    return value;
  }

  private add(
    dtype: DType,
    shape: readonly Expr[],
    strides: readonly number[] | undefined,
    offset: number,
    label: string,
  ): Value {
    const value = new Value(this, this.values.length, dtype, shape, strides ?? rowMajor(shape, label), offset, label);
    this.values.push(value);
    return value;
  }

  private duplicate(name: string): never {
    throw new UsageError(expected("a new name", `a binding of program ${this.name}`, name), {
      code: "DUPLICATE_NAME",
      hint: "Every input, parameter, state and output has a name of its own.",
    });
  }

  private mismatch(name: string, what: string, received: unknown): never {
    throw new UsageError(expected(what, name, received), {
      code: "INVALID_OPERAND",
      hint: "Compare the call with the op's record in packages/graph/src/ops.",
    });
  }
}

/** The outputs that a call with these inputs has, by name. */
function outputsOf(op: Op, inputs: Record<string, Value | undefined>): Record<string, true> {
  const names = Object.keys(op.outputs).filter((name) => {
    const operand = op.outputs[name]?.when;
    return operand === undefined || inputs[operand] !== undefined;
  });
  return Object.fromEntries(names.map((name) => [name, true]));
}

const isLengthRule = (d: Dim | LengthRule): d is LengthRule =>
  typeof d === "object" && !(d instanceof Expr) && !(d instanceof Sym);

/** "S+1" → letter S and 1 more; "3" → 3; "T" → letter T. */
export function parseDim(token: string): { letter?: string; plus: number } {
  const match = /^(?:([A-Za-z][A-Za-z0-9]*)(?:\+(\d+))?|(\d+))$/.exec(token);
  if (!match)
    throw new UsageError(expected('"T", "S+1" or "3"', "a dimension pattern", token), { code: "INVALID_OPERAND" });
  return match[1] ? { letter: match[1], plus: Number(match[2] ?? 0) } : { plus: Number(match[3]) };
}

export function patternOf(operand: Operand): { letter?: string; plus: number }[] {
  return operand.shape === "" ? [] : operand.shape.split(" ").map(parseDim);
}

function bindShape(name: string, operand: Operand, value: Value, dims: Dims): void {
  const pattern = patternOf(operand);
  const fail = (): never => {
    const known = Object.entries(dims).map(([k, v]) => `${k} = ${v}`);
    throw new UsageError(`Expected shape [${operand.shape}] for ${name} but received [${value.shape.join(", ")}]`, {
      code: "SHAPE_MISMATCH",
      hint: known.length ? `Bound by the operands before it: ${known.join(", ")}.` : "Check the operand's rank.",
    });
  };
  if (pattern.length !== value.shape.length) fail();
  pattern.forEach(({ letter, plus }, axis) => {
    const dim = value.shape[axis]!;
    if (letter === undefined) {
      if (!dim.equals(plus)) fail();
      return;
    }
    const base = dim.plus(-plus);
    const bound = dims[letter];
    if (bound === undefined) dims[letter] = base;
    else if (!bound.equals(base)) fail();
  });
}

function bindDType(name: string, operand: Operand, value: Value, dtypes: Partial<Record<DTypeVariable, DType>>): void {
  const rule = operand.dtype;
  const allowed = rule in dtypeVariables ? dtypeVariables[rule as DTypeVariable] : [rule as DType];
  const bound = dtypes[rule as DTypeVariable];
  if (!allowed.includes(value.dtype) || (bound !== undefined && bound !== value.dtype)) {
    throw new UsageError(expected(bound ?? allowed.join(" or "), `the dtype of ${name}`, value.dtype), {
      code: "DTYPE_MISMATCH",
      hint: "Put a cast() before the op, or load the parameter in the dtype of the activations.",
    });
  }
  if (rule in dtypeVariables) dtypes[rule as DTypeVariable] = value.dtype;
}

function outputDType(operand: Operand, dtypes: Partial<Record<DTypeVariable, DType>>, label: string): DType {
  if (!(operand.dtype in dtypeVariables)) return operand.dtype as DType;
  const dtype = dtypes[operand.dtype as DTypeVariable];
  if (dtype === undefined) {
    throw new UsageError(
      expected("a dtype decided by an input or an attribute", `an output of ${label}`, operand.dtype),
      {
        code: "DTYPE_MISMATCH",
      },
    );
  }
  return dtype;
}

function operandShape(operand: Operand, dims: Dims): Expr[] {
  return patternOf(operand).map(({ letter, plus }) => {
    if (letter === undefined) return Expr.of(plus);
    const dim = dims[letter];
    if (!dim) {
      throw new UsageError(expected("a rule in dims()", `dimension ${letter}`, undefined), { code: "SHAPE_MISMATCH" });
    }
    return dim.plus(plus);
  });
}

/** Bytes of a value's storage at capacity. */
export function capacityBytes(value: Value): number {
  return value.elements.capacity * dtypeSize(value.dtype);
}
