import { expected, InputError, parseOptions } from "@krait/core";
import type { SafetensorsFile } from "@krait/formats";
import { unary, type Value } from "@krait/graph";
import { asInput } from "../checkpoints/index.js";
import type { LayerKind, ParameterSpec, Shell, StateSpec } from "../layers/index.js";
import { mamba1 } from "../layers/mamba1.js";
import { mamba2 } from "../layers/mamba2.js";
import { mamba3 } from "../layers/mamba3.js";
import type { ModelBuilder } from "../model.js";

/** Before the names of a layer's tensors in a golden file. */
const PREFIX = "param.";

type Shapes = ReadonlyMap<string, readonly number[]>;
type LayerOptions = Readonly<Record<string, unknown>>;

/** One layer as a golden file holds it: its kind and its sizes, read off its tensors. */
export interface GoldenLayer {
  kind: string;
  width: number;
  parameters: ParameterSpec[];
  states: StateSpec[];
  /** Values [T, width] in, outputs [T, width] out, both float32. */
  build(builder: ModelBuilder): void;
}

/** Whether a golden file holds the parameters of a layer, and so needs no model beside it. */
export function holdsLayer(file: SafetensorsFile): boolean {
  return [...file.tensors.keys()].some((name) => name.startsWith(PREFIX));
}

/**
 * Reads a layer's kind and sizes off the shapes of its tensors, which are named as in mamba_ssm.
 *
 * @param overrides options that no shape tells: `groups` of a Mamba-2 layer (1), `aActivation` of a Mamba-3 one
 * @throws InputError (GOLDEN_INVALID, INVALID_CONFIG, TENSOR_MISSING, TENSOR_UNEXPECTED, TENSOR_SHAPE)
 */
export function readLayer(file: SafetensorsFile, overrides: LayerOptions = {}): GoldenLayer {
  const shapes: Shapes = new Map(
    [...file.tensors].flatMap(([name, entry]) =>
      name.startsWith(PREFIX) ? [[name.slice(PREFIX.length), entry.shape]] : [],
    ),
  );
  const size = (name: string, axis: number): number => {
    const n = shapes.get(name)?.[axis];
    if (n) return n;
    throw new InputError(expected(`dimension ${axis} of ${PREFIX}${name}`, file.path, shapes.get(name)), {
      code: "GOLDEN_INVALID",
      hint: "A layer is recognised by its tensors, named as in mamba_ssm: param.in_proj.weight, param.D, …",
    });
  };
  const shell: Shell = { width: size("out_proj.weight", 0), layerCount: 1 };
  const has = (name: string) => shapes.has(name);
  const layer = has("B_norm.weight")
    ? layerOf(mamba3, shell, { ...mamba3Sizes(size, has), ...overrides })
    : has("x_proj.weight")
      ? layerOf(mamba1, shell, { ...mamba1Sizes(size, has), ...overrides })
      : layerOf(mamba2, shell, { ...mamba2Sizes(size, has, Number(overrides.groups ?? 1)), ...overrides });
  checkNames(file, layer, shapes);
  return layer;
}

type Size = (name: string, axis: number) => number;
type Has = (name: string) => boolean;

function mamba1Sizes(size: Size, has: Has): LayerOptions {
  return {
    innerWidth: size("A_log", 0),
    stateSize: size("A_log", 1),
    convWidth: size("conv1d.weight", 2),
    dtRank: size("dt_proj.weight", 1),
    convBias: has("conv1d.bias"),
    bias: has("in_proj.bias"),
  };
}

function mamba2Sizes(size: Size, has: Has, groups: number): LayerOptions {
  const inner = size("out_proj.weight", 1);
  const heads = size("dt_bias", 0);
  return {
    innerWidth: inner,
    headDim: inner / heads,
    groups,
    stateSize: (size("conv1d.weight", 0) - inner) / 2 / groups,
    convWidth: size("conv1d.weight", 2),
    norm: has("norm.weight") ? "gated" : "none",
    channelD: size("D", 0) !== heads,
    convBias: has("conv1d.bias"),
    bias: has("in_proj.bias"),
  };
}

function mamba3Sizes(size: Size, has: Has): LayerOptions {
  const inner = size("out_proj.weight", 1);
  const heads = size("dt_bias", 0);
  const states = size("B_norm.weight", 0);
  // What is left of the rows of in_proj are 2 · groups · states of B and C and the angles, of which there are fewer than states.
  const rest = size("in_proj.weight", 0) - 2 * inner - 3 * heads;
  const groups = Math.max(1, Math.floor(rest / (2 * states)));
  const angles = rest - 2 * groups * states;
  return {
    innerWidth: inner,
    headDim: inner / heads,
    stateSize: states,
    groups,
    ropeFraction: angles > Math.floor(states / 4) ? 1 : 0.5,
    outNorm: has("norm.weight"),
    bias: has("in_proj.bias"),
  };
}

function layerOf(kind: LayerKind, shell: Shell, given: LayerOptions): GoldenLayer {
  const options = asInput(() => {
    const parsed = parseOptions(kind.schema, given, `a ${kind.name} layer`);
    kind.check(parsed, shell);
    return parsed;
  });
  return {
    kind: kind.name,
    width: shell.width,
    parameters: kind.parameters(options, shell),
    states: kind.states(options, shell),
    build({ graph, tokens, dtype, tensors, context }) {
      const named = (name: string) => tensors.get(name)!;
      const values = graph.input("values", "f32", [tokens, shell.width]);
      const x = dtype === "f32" ? values : cast(values, dtype);
      const { routing: _, ...shared } = context;
      const y = kind.forward({ parameter: named, state: named, ...shared, dtype }, x, options, shell);
      graph.output("outputs", cast(y, "f32"));
    },
  };
}

function cast(x: Value, outDtype: "f32" | "bf16"): Value {
  return unary({ x }, { kind: "identity", outDtype }).y;
}

function checkNames(file: SafetensorsFile, { kind, parameters }: GoldenLayer, shapes: Shapes): void {
  const wanted = new Map(parameters.map((p) => [p.name, p.shape]));
  const fault = (code: string, message: string) =>
    new InputError(message, { code, hint: `By its tensors the layer was taken for ${kind}.` });
  for (const [name, shape] of wanted) {
    const stored = shapes.get(name);
    if (!stored) throw fault("TENSOR_MISSING", expected(`tensor ${PREFIX}${name}`, file.path, undefined));
    if (stored.join() === shape.join()) continue;
    throw fault(
      "TENSOR_SHAPE",
      expected(`shape [${shape.join(", ")}]`, `tensor ${PREFIX}${name} of ${file.path}`, stored),
    );
  }
  const extra = [...shapes.keys()].find((name) => !wanted.has(name));
  if (extra) throw fault("TENSOR_UNEXPECTED", expected("only the layer's tensors", file.path, PREFIX + extra));
}
