import type { DType } from "@krait/core";
import type { Value } from "@krait/graph";
import type { z } from "zod";
import type { Initializer } from "../init.js";

/** One tensor of a checkpoint. */
export interface ParameterSpec {
  name: string;
  /** As the file holds it. */
  shape: readonly number[];
  /** As the program reads it, when that differs (same elements, same order). */
  programShape?: readonly number[];
  /** `weight` tensors follow the model's dtype; the others are always float32. */
  dtype: "weight" | "f32";
  init: Initializer;
}

/** Tokens of a page: room for states that grow comes in whole ones. Attention reads its keys in blocks of as many. */
export const PAGE_TOKENS = 64;

/** Memory a layer carries from run to run, per sequence. */
export interface StateSpec {
  name: string;
  /** Of the whole state; of what each token adds to it where it grows. */
  shape: readonly number[];
  /** Whether the state stays as large however long the sequence is (the default), or keeps something of every token. */
  growth?: "bounded" | "linear";
  /** `activation` states follow the model's dtype. */
  dtype: "activation" | "f32" | "i64";
}

/** The shape of a sequence's state with room for `contextTokens` tokens. */
export function stateShape({ shape, growth }: StateSpec, contextTokens: number): readonly number[] {
  return growth === "linear" ? [Math.ceil(contextTokens / PAGE_TOKENS) * PAGE_TOKENS, ...shape] : shape;
}

/** The dtype of a state in a model of this one. */
export const stateDType = (spec: StateSpec, model: "f32" | "bf16") =>
  spec.dtype === "activation" ? model : spec.dtype;

/** What a layer's forward pass sees of the program around it. */
export interface LayerScope {
  /** The layer's own parameter or state, by the name in its spec. */
  parameter(name: string): Value;
  /** Absent for a state that grows, in a program for whole sequences alone. */
  state(name: string): Value | undefined;
  readonly cuSeqlens: Value;
  readonly stateIndex: Value;
  /** int64 [S], the absolute position of each sequence's first token in the run. */
  readonly position: Value;
  /** Tokens int32 [G], ascending, that all later ones see, and their borders int32 [S+1]; absent where the stack has none. */
  readonly globals?: { tokens: Value; borders: Value } | undefined;
  /** Only in a program that gives out and takes what the layer chose among its experts. */
  readonly routing?: LayerRouting | undefined;
  readonly dtype: DType;
}

/** Experts int32 [T, topK] of a layer: those that a run is given, a row of −1 for none, and where those that it chose go. */
export interface LayerRouting {
  given: Value;
  chose(experts: Value): void;
}

/** The shell a layer stands in. */
export interface Shell {
  width: number;
  layerCount: number;
}

/**
 * A kind of layer: what it is called in layouts, its options, its tensors, its state and its forward pass [T, width] → [T, width]
 * (without norm and residual, which are the stack's).
 */
export interface LayerKind<S extends z.ZodType = z.ZodType, N extends string = string> {
  letter: string;
  /** Key of its options in the stack's config. */
  name: N;
  schema: S;
  /** Throws `UsageError` for options that do not fit the width. */
  check(options: z.output<S>, shell: Shell): void;
  parameters(options: z.output<S>, shell: Shell): ParameterSpec[];
  states(options: z.output<S>, shell: Shell): StateSpec[];
  /** Whether no token depends on a later one; a kind without it is causal. */
  isCausal?(options: z.output<S>): boolean;
  /** Marks that a layout may put behind the letter, and the options that each sets. */
  marks?: Readonly<Record<string, Partial<z.output<S>>>>;
  /** Experts that each token is sent to, and of how many; a kind without it has none. */
  routes?(options: z.output<S>): { topK: number; experts: number };
  /** Most global tokens of a sequence; a kind without it knows none. */
  globalTokens?(options: z.output<S>): number;
  forward(scope: LayerScope, x: Value, options: z.output<S>, shell: Shell): Value;
}

export function defineLayer<S extends z.ZodType, const N extends string>(kind: LayerKind<S, N>): LayerKind<S, N> {
  return kind;
}
