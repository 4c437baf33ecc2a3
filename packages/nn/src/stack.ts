import { type DType, expected, parseOptions, UsageError } from "@krait/core";
import type { Graph, Value } from "@krait/graph";
import { z } from "zod";
import {
  type LayerKind,
  type LayerRouting,
  layerKinds,
  layerSections,
  type ParameterSpec,
  type Shell,
  type StateSpec,
} from "./layers/index.js";
import { parseLayout } from "./layout.js";
import { type NormKind, normalise, normKinds, normParameters } from "./norm.js";
import type { RoutedLayer } from "./routing.js";

/** A stack of layers with pre-normalisation and residuals. Sections hold the options of each layer kind. */
export const stackSchema = z
  .strictObject({
    width: z.int().positive().max(65536).default(256),
    layout: z.union([z.string().max(10_000), z.array(z.string()).max(1000)]).default("(M2 M2 M2 A)x2"),
    /** Of every norm before a layer and of the last: the root mean square, or mean and variance with a bias. */
    norm: z.enum(normKinds).default("rms"),
    normEps: z.number().positive().default(1e-5),
    /** dtype of the residual stream: float32 keeps long stacks exact in bf16 models. */
    residual: z.enum(["f32", "model"]).default("f32"),
    ...layerSections,
  })
  .prefault({});

export type StackOptions = z.input<typeof stackSchema>;

/** What a layout may name: each kind's letter, alone and with its marks. */
const layerLetters = new Map(
  layerKinds.flatMap((kind) => [
    [kind.letter, { kind, mark: {} }] as const,
    ...Object.entries(kind.marks ?? {}).map(
      ([mark, set]) => [kind.letter + mark, { kind, mark: set as object }] as const,
    ),
  ]),
);

interface StackLayer {
  kind: LayerKind;
  options: unknown;
  prefix: string;
}

/** Tensors that a program reads, and memory that its sequences carry, with their full names. */
export interface Blueprint {
  parameters: ParameterSpec[];
  states: StateSpec[];
  /** Whether no token depends on a later one (the default): only then something can be carried from run to run. */
  isCausal?: boolean;
  /** Most global tokens of a sequence; none when absent. */
  globalTokens?: number;
  /** Layers whose choices a run gives out and takes; none when absent, whatever layers there are. */
  routing?: readonly RoutedLayer[] | undefined;
}

/** What the passes of a stack share in one program. */
export interface SequenceContext {
  cuSeqlens: Value;
  stateIndex: Value;
  position: Value;
  globals?: { tokens: Value; borders: Value } | undefined;
  /** By layer. */
  routing?: ReadonlyMap<string, LayerRouting> | undefined;
}

/** A checked stack: its layers, tensors, states and forward pass. Tensor names follow state-spaces/mamba's shell. */
export class Stack {
  readonly width: number;
  readonly layers: readonly StackLayer[];
  private readonly shell: Shell;
  private readonly norm: NormKind;
  private readonly normEps: number;
  private readonly residual: "f32" | "model";

  /** @throws UsageError (INVALID_LAYOUT, INVALID_CONFIG, INVALID_OPTION) */
  constructor(options: StackOptions = {}) {
    const config = parseOptions(stackSchema, options, "the stack");
    const letters = parseLayout(config.layout, [...layerLetters.keys()]);
    this.width = config.width;
    this.norm = config.norm;
    this.normEps = config.normEps;
    this.residual = config.residual;
    this.shell = { width: config.width, layerCount: letters.length };
    this.layers = letters.map((letter, i) => {
      const { kind, mark } = layerLetters.get(letter)!;
      const options = { ...((config as Record<string, unknown>)[kind.name] as object), ...mark };
      return { kind, options, prefix: `backbone.layers.${i}` };
    });
    for (const { kind, options } of this.layers) kind.check(options, this.shell);
  }

  /** Whether no token depends on a later one, so that a sequence may come in pieces. */
  get isCausal(): boolean {
    return this.layers.every(({ kind, options }) => kind.isCausal?.(options) ?? true);
  }

  /** Throws `UsageError` (NOT_CAUSAL) where a layer looks ahead: only whole sequences can be run then. */
  expectCausal(what: string): void {
    const at = this.layers.findIndex(({ kind, options }) => !(kind.isCausal?.(options) ?? true));
    if (at < 0) return;
    const { direction } = this.layers[at]!.options as { direction?: string };
    throw new UsageError(
      expected("a causal stack", what, `layer ${at}, which is ${direction ?? "a layer that looks ahead"}`),
      {
        code: "NOT_CAUSAL",
        hint: "Its outputs depend on the end of the sequence: run whole sequences, without a session.",
      },
    );
  }

  /** Whether memory per sequence stays the same however long it grows. */
  get stateGrowth(): "bounded" | "linear" {
    return this.blueprint().states.some((s) => s.growth === "linear") ? "linear" : "bounded";
  }

  /** Most global tokens of a sequence: what the layers that know them agree on. */
  get globalTokens(): number {
    const known = this.layers.map(({ kind, options }) => kind.globalTokens?.(options) ?? 0).filter((n) => n > 0);
    return known.length > 0 ? Math.min(...known) : 0;
  }

  /** The layers that choose among experts. */
  get routed(): RoutedLayer[] {
    return this.layers.flatMap(({ kind, options, prefix }) => {
      const routes = kind.routes?.(options);
      return routes ? [{ name: `${prefix}.mixer`, ...routes }] : [];
    });
  }

  blueprint(): Blueprint {
    const norm = (name: string) => normParameters(this.norm, name, this.width);
    const parameters: ParameterSpec[] = [];
    const states: StateSpec[] = [];
    for (const { kind, options, prefix } of this.layers) {
      parameters.push(...norm(`${prefix}.norm`));
      for (const p of kind.parameters(options, this.shell))
        parameters.push({ ...p, name: `${prefix}.mixer.${p.name}` });
      for (const s of kind.states(options, this.shell)) states.push({ ...s, name: `${prefix}.mixer.${s.name}` });
    }
    parameters.push(...norm("backbone.norm_f"));
    return { parameters, states, isCausal: this.isCausal, globalTokens: this.globalTokens };
  }

  /** The dtype that the first layer wants its input in. */
  streamDType(model: "f32" | "bf16"): "f32" | "bf16" {
    return this.residual === "f32" ? "f32" : model;
  }

  /** [T, width] → normalised features [T, width] in float32. */
  forward(
    graph: Graph,
    x: Value,
    context: SequenceContext,
    tensors: ReadonlyMap<string, Value>,
    dtype: "f32" | "bf16",
  ): Value {
    const tensor = (name: string): Value => {
      const value = tensors.get(name);
      if (!value)
        throw new UsageError(expected("a tensor of the blueprint", "the stack", name), { code: "INVALID_CONFIG" });
      return value;
    };
    let stream = x;
    let branch: Value | undefined;
    for (const { kind, options, prefix } of this.layers) {
      graph.within(prefix, () => {
        const inputs = branch ? { x: branch, residual: stream } : { x: stream };
        const attributes = { eps: this.normEps, outDtype: dtype };
        const normed = normalise(this.norm, `${prefix}.norm`, tensor, inputs, attributes);
        stream = normed.sum ?? stream;
        const states = kind.states(options, this.shell);
        const scope = {
          parameter: (name: string) => tensor(`${prefix}.mixer.${name}`),
          state: (name: string) => {
            const { growth } = states.find((s) => s.name === name) ?? {};
            return growth === "linear" ? tensors.get(`${prefix}.mixer.${name}`) : tensor(`${prefix}.mixer.${name}`);
          },
          ...context,
          routing: context.routing?.get(`${prefix}.mixer`),
          dtype: dtype as DType,
        };
        branch = kind.forward(scope, normed.y, options, this.shell);
      });
    }
    const attributes = { eps: this.normEps, outDtype: "f32" } as const;
    return normalise(this.norm, "backbone.norm_f", tensor, { x: branch!, residual: stream }, attributes).y;
  }
}
