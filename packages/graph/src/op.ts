import { type DType, InternalError } from "@krait/core";
import { z } from "zod";
import { type Dim, type Expr, type LengthRule, product } from "./expr.js";
import type { Rule } from "./rules.js";
import type { Graph, Value } from "./value.js";

/**
 * A dtype, or a variable that every operand of the call that names it must agree on:
 * `E` activations (f32, bf16), `W` weights (f32, bf16), `R` the residual stream (f32, bf16), `P` pixels (u8, f32),
 * `O` an output whose dtype an attribute decides.
 */
export type DTypeRule = DType | DTypeVariable;
export type DTypeVariable = "E" | "W" | "R" | "P" | "O";
export const dtypeVariables: Record<DTypeVariable, readonly DType[]> = {
  E: ["f32", "bf16"],
  W: ["f32", "bf16"],
  R: ["f32", "bf16"],
  P: ["u8", "f32"],
  O: ["f32", "bf16"],
};

/**
 * One operand of an op. `shape` names its dimensions, e.g. "T D": a letter that occurs twice must be the same dimension,
 * a number is itself. `inout` operands (states) are updated in place and come back as an output of the same name.
 */
export interface Operand {
  readonly shape: string;
  readonly dtype: DTypeRule;
  readonly optional?: boolean;
  readonly inout?: boolean;
}

export const tensor = (shape: string, dtype: DTypeRule = "E"): Operand => ({ shape, dtype });
export const optional = (shape: string, dtype: DTypeRule = "E") => ({ shape, dtype, optional: true }) as const;
export const state = (shape: string, dtype: DTypeRule = "f32") => ({ shape, dtype, inout: true }) as const;
export const optionalState = (shape: string, dtype: DTypeRule = "f32") =>
  ({ shape, dtype, inout: true, optional: true }) as const;
/** Borders of the packed sequences: int32 [S+1], first 0, last T, never falling. */
export const cuSeqlens = (): Operand => tensor("S+1", "i32");
/** An output that exists only when the optional input `operand` was given. */
export const when = (operand: string, shape: string, dtype: DTypeRule = "E") =>
  ({ shape, dtype, when: operand }) as const;

/** A float64 tensor of the reference interpreter, row-major. Integers are held exactly. */
export interface ReferenceTensor {
  shape: readonly number[];
  data: Float64Array;
}

export type Attributes = Record<string, number | boolean | string>;
export type Dims = Record<string, Expr>;

/** Where a view op's output lies inside its input's storage, in elements. */
export interface ViewLayout {
  shape: readonly Dim[];
  offset: number;
  strides: readonly number[];
}

export interface Cost {
  flops: Dim;
  /** Bytes that must move: each input read once, each output written once. */
  bytes: Dim;
}

export interface OpSpec<I extends Record<string, Operand>, O extends Record<string, Operand>, A extends z.ZodObject> {
  /** One sentence with the formula and the paper or code that defines it. */
  doc: string;
  attributes?: A;
  inputs: I;
  outputs: O;
  /** Dimensions of outputs that no input binds, by letter. A length rule makes a new symbol of it. */
  dims?: (dims: Dims, attributes: z.output<A>) => Record<string, Dim | LengthRule>;
  /** Output dtypes that no input decides: variable → dtype. */
  dtypes?: (
    attributes: z.output<A>,
    bound: Partial<Record<DTypeVariable, DType>>,
  ) => Partial<Record<DTypeVariable, DType>>;
  /** A view moves nothing: its single output is its single input seen otherwise. No kernel exists for it. */
  view?: (input: Value, attributes: z.output<A>) => ViewLayout;
  /** Relations that shapes cannot say, held in TypeScript and natively. */
  rules?: readonly Rule[];
  cost: (dims: Dims, attributes: z.output<A>) => Cost;
  /** Whether small inputs stay until the op behind has run too, so that a device may run both as one. */
  lingers?: boolean;
  /** Bytes of scratch memory a kernel may use, at capacity. */
  scratch?: (dims: Dims, attributes: z.output<A>) => Dim;
  /**
   * Gradients of the inputs that need one, from the gradients of the outputs (absent where nothing flows back),
   * built from ops. Leave it out and differentiating throws NO_GRADIENT.
   */
  gradient?: (call: OpCall, outputGradients: Gradients) => Gradients;
  /** Plain float64 loops: the definition that every kernel is held to. */
  reference: (
    inputs: { [K in keyof I]: I[K] extends { optional: true } ? ReferenceTensor | undefined : ReferenceTensor },
    attributes: z.output<A>,
    shapes: Record<string, readonly number[]>,
  ) => Record<string, ReferenceTensor>;
}

/** Attribute of ops that may write another float dtype than they read. */
export const outDtype = () => z.enum(["same", "f32", "bf16"]).default("same");

/**
 * Attribute of ops that walk along time: each sequence from its last token to its first, which equals flipping it, running, and flipping
 * back. Carried state belongs to the walk: what a later run of a slot goes on with lies before this run in time.
 */
export const reverse = () => z.boolean().default(false);

/** Scratch bytes in which a kernel may mirror the borders and slots of a reversed run. */
export const mirrorScratch = (dims: Dims, attributes: { reverse: boolean }): Dim =>
  attributes.reverse ? product(8, dims.S!).plus(512) : 0;

/** The `O` of an op with an `outDtype` attribute; "same" is the dtype of `variable`. */
export function outputDtype(
  attributes: { outDtype: "same" | "f32" | "bf16" },
  bound: Partial<Record<DTypeVariable, DType>>,
  variable: DTypeVariable = "E",
): Partial<Record<DTypeVariable, DType>> {
  const dtype = attributes.outDtype === "same" ? bound[variable] : attributes.outDtype;
  return dtype ? { O: dtype } : {};
}

/** Gradients by operand name; absent where nothing flows. */
export type Gradients = Record<string, Value | undefined>;

export interface OpCall {
  graph: Graph;
  inputs: Record<string, Value | undefined>;
  outputs: Record<string, Value>;
  attributes: Attributes;
}

/** An op's record without its static types: what the planner, the encoder and the generators see. */
export interface Op {
  readonly name: string;
  readonly doc: string;
  /** Strict: an attribute the record does not name is refused. */
  readonly attributes: z.ZodObject;
  readonly inputs: Readonly<Record<string, Operand>>;
  readonly outputs: Readonly<Record<string, Operand & { when?: string }>>;
  readonly wire: readonly WireAttribute[];
  readonly isView: boolean;
  readonly spec: OpSpec<Record<string, Operand>, Record<string, Operand>, z.ZodObject>;
}

/** How one attribute travels: 8 bytes each, in this order. Enumerations travel as the index of their choice. */
export interface WireAttribute {
  name: string;
  type: "i64" | "f64" | "bool" | "enum";
  choices?: readonly string[];
}

export type OpFunction<I extends Record<string, Operand>, O extends Record<string, Operand>, A extends z.ZodObject> = ((
  inputs: { [K in keyof I as I[K] extends { optional: true } ? never : K]: Value } & {
    [K in keyof I as I[K] extends { optional: true } ? K : never]?: Value | undefined;
  },
  attributes?: z.input<A>,
) => {
  [K in keyof O]: O[K] extends { when: string } ? Value | undefined : Value;
} & {
  [K in keyof I as I[K] extends { inout: true } ? K : never]: I[K] extends { optional: true }
    ? Value | undefined
    : Value;
}) & { op: Op };

interface ZodDef {
  type: string;
  innerType?: z.ZodType;
  entries?: Record<string, string>;
  format?: string;
  checks?: { _zod: { def: { format?: string } } }[];
}

function wireAttribute(op: string, name: string, schema: z.ZodType): WireAttribute {
  const def = (schema as unknown as { def: ZodDef }).def;
  if (def.innerType) return wireAttribute(op, name, def.innerType);
  if (def.type === "boolean") return { name, type: "bool" };
  if (def.type === "enum") return { name, type: "enum", choices: Object.values(def.entries ?? {}) };
  if (def.type === "number") {
    const isInteger = def.format === "safeint" || def.checks?.some((c) => c._zod.def.format === "safeint");
    return { name, type: isInteger ? "i64" : "f64" };
  }
  throw new InternalError(
    `Expected a number, boolean or enum for attribute ${name} of op ${op} but received ${def.type}`,
  );
}

/**
 * Declares an op and returns the function that adds a call of it to the graph its inputs belong to.
 *
 * @param name snake_case; also the stem of kernels/cpu/<name>.cpp and kernels/cuda/<name>.cu, and the function they define
 */
export function defineOp<
  const I extends Record<string, Operand>,
  const O extends Record<string, Operand>,
  A extends z.ZodObject,
>(name: string, spec: OpSpec<I, O, A>): OpFunction<I, O, A> {
  const shape = spec.attributes?.shape ?? {};
  const wire = spec.view
    ? []
    : Object.entries(shape).map(([key, schema]) => wireAttribute(name, key, schema as z.ZodType));
  const op: Op = {
    name,
    doc: spec.doc,
    attributes: (spec.attributes ?? z.object({})).strict(),
    inputs: spec.inputs,
    outputs: spec.outputs,
    wire,
    isView: spec.view !== undefined,
    spec: spec as unknown as Op["spec"],
  };
  const call = (inputs: Record<string, Value | undefined>, attributes: unknown = {}) => {
    const graph = Object.values(inputs).find((v) => v !== undefined)?.graph;
    if (!graph) throw new InternalError(`Expected at least one input for op ${name} but received none`);
    return graph.call(op, inputs, attributes);
  };
  return Object.assign(call, { op }) as unknown as OpFunction<I, O, A>;
}
