import { expected, UsageError } from "@krait/core";
import { causalConv1d, linear, rmsNorm, selectiveScan, split, type Value } from "@krait/graph";
import { z } from "zod";
import { constant, dtBias, type Initializer, kaimingUniform, uniform } from "../init.js";
import {
  along,
  backwardName,
  carried,
  directionFields,
  directionMarks,
  forWays,
  joinWays,
  type Way,
  waysOf,
} from "./direction.js";
import { defineLayer, type LayerScope, type ParameterSpec, type Shell } from "./layer.js";
import { biases, projection } from "./projection.js";

const schema = z
  .strictObject({
    stateSize: z.int().positive().max(256).default(16),
    convWidth: z.int().min(1).max(16).default(4),
    expand: z.number().positive().max(16).default(2),
    /** Inner width, where it is not expand · width. */
    innerWidth: z.int().positive().optional(),
    /** Width that Δ is made from; `auto` is ⌈width / 16⌉. */
    dtRank: z.union([z.literal("auto"), z.int().positive()]).default("auto"),
    convBias: z.boolean().default(true),
    /** RMS norms on what Δ, B and C are made from, as in Jamba and FalconMamba. */
    selectionNorms: z.boolean().default(false),
    selectionNormEps: z.number().positive().default(1e-6),
    /** Of the projections in and out. */
    bias: z.boolean().default(false),
    ...directionFields,
    /**
     * What the way back has of its own: all between the projections in and out (Vim's v2), A alone on the convolution of the way forward
     * (its v1), or nothing.
     */
    backward: z.enum(["separate", "decay", "shared"]).default("separate"),
  })
  .prefault({});
type Options = z.output<typeof schema>;

function widths(o: Options, { width }: Shell) {
  const rank = o.dtRank === "auto" ? Math.ceil(width / 16) : o.dtRank;
  return { inner: o.innerWidth ?? o.expand * width, rank };
}

/** A = −1 … −n in every channel (S4D-real). */
const ascending =
  (states: number): Initializer =>
  (data) => {
    for (let i = 0; i < data.length; i++) data[i] = Math.log(1 + (i % states));
  };

/** The parts of `x_proj`'s output. */
const selections = ["dt", "B", "C"] as const;

const selectionNorms = (o: Options, rank: number): ParameterSpec[] =>
  [rank, o.stateSize, o.stateSize].map((width, i) => ({
    name: `${selections[i]}_norm.weight`,
    shape: [width],
    dtype: "f32",
    init: constant(1),
  }));

/** Mamba-1 (S6), arXiv 2312.00752; tensors named as in state-spaces/mamba, `in_proj` in the order x, z, `x_proj` in the order dt, B, C. */
export const mamba1 = defineLayer({
  letter: "M1",
  name: "mamba1",
  schema,
  check(o, shell) {
    if (Number.isInteger(widths(o, shell).inner)) return;
    throw new UsageError(expected("a whole inner width", "mamba1.expand", o.expand), {
      code: "INVALID_CONFIG",
      hint: "expand · width must be an integer.",
    });
  },
  parameters(o, shell) {
    const { inner } = widths(o, shell);
    const { width, layerCount } = shell;
    return [
      { name: "in_proj.weight", shape: [2 * inner, width], dtype: "weight", init: kaimingUniform(width) },
      ...biases(o.bias, { in_proj: 2 * inner }),
      ...walkParameters(o, shell),
      {
        name: "out_proj.weight",
        shape: [width, inner],
        dtype: "weight",
        init: kaimingUniform(inner, 1 / Math.sqrt(layerCount)),
      },
      ...biases(o.bias, { out_proj: width }),
    ];
  },
  states(o, shell) {
    const { inner } = widths(o, shell);
    return carried(o, [
      { name: "conv", shape: [o.convWidth - 1, inner], dtype: "f32" },
      { name: "ssm", shape: [inner, o.stateSize], dtype: "f32" },
    ]);
  },
  isCausal: (o) => o.direction === "causal",
  marks: directionMarks,
  forward(scope, x, o, shell) {
    const { inner } = widths(o, shell);
    const project = projection(scope, o.bias);
    const [xs, gate] = split(project(x, "in_proj"), [inner, inner]);
    const ways = waysOf(o);
    const sharesConvolution = o.backward === "decay";
    const first = select(scope, xs!, o, shell, ways[0]!);
    const outputs = ways.map((way, i) => {
      const { parameter, state, stateIndex } = along(scope, o, { ...way, own: way.own && !sharesConvolution });
      return selectiveScan(
        {
          ...(i === 0 || sharesConvolution ? first : select(scope, xs!, o, shell, way)),
          aLog: scope.parameter(way.own ? backwardName("A_log") : "A_log"),
          D: parameter("D"),
          dtBias: parameter("dt_proj.bias"),
          z: gate!,
          cuSeqlens: scope.cuSeqlens,
          state: state("ssm"),
          stateIndex,
        },
        { reverse: way.reverse },
      ).y;
    });
    return project(joinWays(o, outputs), "out_proj");
  },
});

/** Tensors of one walk; of the way back too where it has its own. */
function walkParameters(o: Options, shell: Shell): ParameterSpec[] {
  const { inner, rank } = widths(o, shell);
  const step = rank ** -0.5;
  const decay: ParameterSpec = {
    name: "A_log",
    shape: [inner, o.stateSize],
    dtype: "f32",
    init: ascending(o.stateSize),
  };
  const others: ParameterSpec[] = [
    {
      name: "conv1d.weight",
      shape: [inner, 1, o.convWidth],
      programShape: [inner, o.convWidth],
      dtype: "f32",
      init: kaimingUniform(o.convWidth),
    },
    ...(o.convBias
      ? [{ name: "conv1d.bias", shape: [inner], dtype: "f32" as const, init: kaimingUniform(o.convWidth) }]
      : []),
    { name: "x_proj.weight", shape: [rank + 2 * o.stateSize, inner], dtype: "weight", init: kaimingUniform(inner) },
    ...(o.selectionNorms ? selectionNorms(o, rank) : []),
    { name: "dt_proj.weight", shape: [inner, rank], dtype: "weight", init: uniform(-step, step) },
    { name: "dt_proj.bias", shape: [inner], dtype: "f32", init: dtBias() },
    { name: "D", shape: [inner], dtype: "f32", init: constant(1) },
  ];
  const ways = waysOf(o);
  return [...forWays(ways, [decay]), ...(o.backward === "decay" ? others : forWays(ways, others))];
}

/** What a walk scans: the convolved inputs, Δ without its bias, B and C. */
function select(
  scope: LayerScope,
  x: Value,
  o: Options,
  shell: Shell,
  way: Way,
): { x: Value; dt: Value; B: Value; C: Value } {
  const { rank } = widths(o, shell);
  const { parameter, state, stateIndex } = along(scope, o, way);
  const mixed = causalConv1d(
    {
      x,
      weight: parameter("conv1d.weight"),
      bias: o.convBias ? parameter("conv1d.bias") : undefined,
      cuSeqlens: scope.cuSeqlens,
      state: state("conv"),
      stateIndex,
    },
    { activation: "silu", reverse: way.reverse },
  ).y;
  const selected = linear({ x: mixed, weight: parameter("x_proj.weight") }).y; // [T, rank + 2·stateSize]
  const [low, B, C] = split(selected, [rank, o.stateSize, o.stateSize]).map((x, i) =>
    o.selectionNorms
      ? rmsNorm({ x, weight: parameter(`${selections[i]}_norm.weight`) }, { eps: o.selectionNormEps }).y
      : x,
  );
  const dt = linear({ x: low!, weight: parameter("dt_proj.weight") }).y; // [T, inner]; its bias is added within the scan
  return { x: mixed, dt, B: B!, C: C! };
}
