import { expected, UsageError } from "@krait/core";
import { binary, causalConv1d, gatedRmsNorm, mergeHeads, split, splitHeads, ssdScan, unary } from "@krait/graph";
import { z } from "zod";
import { constant, dtBias, kaimingUniform, logUniform } from "../init.js";
import { along, backward, carried, directionFields, directionMarks, forWays, joinWays, waysOf } from "./direction.js";
import { defineLayer, type ParameterSpec, type Shell } from "./layer.js";
import { biases, projection } from "./projection.js";

const schema = z
  .strictObject({
    stateSize: z.int().positive().max(1024).default(128),
    convWidth: z.int().min(1).max(16).default(4),
    expand: z.number().positive().max(16).default(2),
    /** Inner width, where it is not expand · width. */
    innerWidth: z.int().positive().optional(),
    headDim: z.int().positive().max(1024).default(64),
    groups: z.int().positive().default(1),
    /** Tokens per chunk of the scan. */
    chunkSize: z.int().min(1).max(256).default(64),
    normEps: z.number().positive().default(1e-5),
    /** `gated` normalises with the gate, `none` only multiplies by it. */
    norm: z.enum(["gated", "none"]).default("gated"),
    /** Equal parts of a row that are normalised each on its own; as many as `groups` when absent. */
    normGroups: z.int().positive().optional(),
    normBeforeGate: z.boolean().default(false),
    /** Bounds of Δ after softplus. */
    dtMin: z.number().min(0).default(0),
    dtMax: z.number().positive().default(3.4028234663852886e38),
    convBias: z.boolean().default(true),
    /** D for each channel of each head instead of each head. */
    channelD: z.boolean().default(false),
    /** Of the projections in and out. */
    bias: z.boolean().default(false),
    /** Of the projection out, where it is not as `bias`. */
    outBias: z.boolean().optional(),
    ...directionFields,
    backward,
  })
  .prefault({});
type Options = z.output<typeof schema>;

/** d inner width, h heads, c convolved channels (x, B, C). */
function widths(o: Options, { width }: Shell) {
  const inner = o.innerWidth ?? o.expand * width;
  const heads = inner / o.headDim;
  const bc = o.groups * o.stateSize;
  return { inner, heads, bc, convolved: inner + 2 * bc };
}

/** Mamba-2 (SSD), arXiv 2405.21060; tensors named as in state-spaces/mamba, `in_proj` in the order z, x, B, C, dt. */
export const mamba2 = defineLayer({
  letter: "M2",
  name: "mamba2",
  schema,
  check(o, shell) {
    const { inner, heads } = widths(o, shell);
    const fail = (what: string, name: string, received: unknown, hint: string): never => {
      throw new UsageError(expected(what, `mamba2.${name}`, received), { code: "INVALID_CONFIG", hint });
    };
    if (!Number.isInteger(inner)) fail("a whole inner width", "expand", o.expand, "expand · width must be an integer.");
    if (!Number.isInteger(heads))
      fail(`a divisor of ${inner}`, "headDim", o.headDim, "Heads must divide expand · width.");
    if (heads % o.groups !== 0)
      fail(`a divisor of ${heads} heads`, "groups", o.groups, "Heads share B and C in equal groups.");
    if (inner % (o.normGroups ?? 1) !== 0)
      fail(`a divisor of ${inner}`, "normGroups", o.normGroups, "The norm works on equal parts of a row.");
  },
  parameters(o, shell) {
    const { inner, heads, bc, convolved } = widths(o, shell);
    const { width, layerCount } = shell;
    const projected = 2 * inner + 2 * bc + heads;
    const walk: ParameterSpec[] = [
      {
        name: "conv1d.weight",
        shape: [convolved, 1, o.convWidth],
        programShape: [convolved, o.convWidth],
        dtype: "f32",
        init: kaimingUniform(o.convWidth),
      },
      ...(o.convBias
        ? [{ name: "conv1d.bias", shape: [convolved], dtype: "f32" as const, init: kaimingUniform(o.convWidth) }]
        : []),
      { name: "dt_bias", shape: [heads], dtype: "f32", init: dtBias() },
      { name: "A_log", shape: [heads], dtype: "f32", init: logUniform(1, 16) },
      o.channelD
        ? { name: "D", shape: [inner], programShape: [heads, o.headDim], dtype: "f32", init: constant(1) }
        : { name: "D", shape: [heads], programShape: [heads, 1], dtype: "f32", init: constant(1) },
    ];
    return [
      { name: "in_proj.weight", shape: [projected, width], dtype: "weight", init: kaimingUniform(width) },
      ...biases(o.bias, { in_proj: projected }),
      ...forWays(waysOf(o), walk),
      ...(o.norm === "gated"
        ? [{ name: "norm.weight", shape: [inner], dtype: "f32" as const, init: constant(1) }]
        : []),
      {
        name: "out_proj.weight",
        shape: [width, inner],
        dtype: "weight",
        init: kaimingUniform(inner, 1 / Math.sqrt(layerCount)),
      },
      ...biases(o.outBias ?? o.bias, { out_proj: width }),
    ];
  },
  states(o, shell) {
    const { heads, convolved } = widths(o, shell);
    return carried(o, [
      { name: "conv", shape: [o.convWidth - 1, convolved], dtype: "f32" },
      { name: "ssm", shape: [heads, o.headDim, o.stateSize], dtype: "f32" },
    ]);
  },
  isCausal: (o) => o.direction === "causal",
  marks: directionMarks,
  forward(scope, x, o, shell) {
    const { inner, heads, bc, convolved } = widths(o, shell);
    const project = projection(scope, o.outBias ?? o.bias);
    const projected = projection(scope, o.bias)(x, "in_proj"); // [T, 2·inner + 2·bc + heads]
    const [gate, xBC, dt] = split(projected, [inner, convolved, heads]);
    const outputs = waysOf(o).map((way) => {
      const { parameter, state, stateIndex } = along(scope, o, way);
      const mixed = causalConv1d(
        {
          x: xBC!,
          weight: parameter("conv1d.weight"),
          bias: o.convBias ? parameter("conv1d.bias") : undefined,
          cuSeqlens: scope.cuSeqlens,
          state: state("conv"),
          stateIndex,
        },
        { activation: "silu", reverse: way.reverse },
      ).y;
      const [xs, B, C] = split(mixed, [inner, bc, bc]);
      const scanned = ssdScan(
        {
          x: splitHeads({ x: xs! }, { heads }).y, // [T, heads, headDim]
          dt: dt!,
          aLog: parameter("A_log"),
          B: splitHeads({ x: B! }, { heads: o.groups }).y, // [T, groups, stateSize]
          C: splitHeads({ x: C! }, { heads: o.groups }).y,
          D: parameter("D"),
          dtBias: parameter("dt_bias"),
          cuSeqlens: scope.cuSeqlens,
          state: state("ssm"),
          stateIndex,
        },
        { chunkSize: o.chunkSize, dtMin: o.dtMin, dtMax: o.dtMax, reverse: way.reverse },
      ).y;
      return mergeHeads({ x: scanned }).y;
    });
    const y = joinWays(o, outputs);
    if (o.norm === "none") {
      const open = unary({ x: gate! }, { kind: "silu" }).y;
      return project(binary({ a: open, b: y }, { kind: "mul" }).y, "out_proj");
    }
    const normed = gatedRmsNorm(
      { x: y, gate: gate!, weight: scope.parameter("norm.weight") },
      { eps: o.normEps, groups: o.normGroups ?? o.groups, normBeforeGate: o.normBeforeGate },
    ).y;
    return project(normed, "out_proj");
  },
});
