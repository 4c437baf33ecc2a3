import { expected, UsageError } from "@krait/core";
import {
  binary,
  concatenate,
  gatedRmsNorm,
  mamba3AActivations,
  mamba3Scan,
  mergeHeads,
  rmsNorm,
  split,
  splitHeads,
  unary,
  type Value,
} from "@krait/graph";
import { z } from "zod";
import { constant, dtBias, kaimingUniform } from "../init.js";
import { along, backward, carried, directionFields, directionMarks, forWays, joinWays, waysOf } from "./direction.js";
import { defineLayer, type ParameterSpec, type Shell } from "./layer.js";
import { biases, projection } from "./projection.js";

const schema = z
  .strictObject({
    stateSize: z.int().positive().max(256).default(128),
    expand: z.number().positive().max(16).default(2),
    /** Inner width, where it is not expand · width. */
    innerWidth: z.int().positive().optional(),
    headDim: z.int().positive().max(1024).default(64),
    groups: z.int().positive().default(1),
    /** Share of the states that are turned, in pairs. */
    ropeFraction: z.union([z.literal(0.5), z.literal(1)]).default(0.5),
    /** What −A is made with; no published configuration says it. */
    aActivation: z.enum(mamba3AActivations).default("heavyTail"),
    /** The slowest decay, −A at least. */
    aFloor: z.number().min(0).default(1e-4),
    /** Of B and C, and of the outputs. */
    normEps: z.number().positive().default(1e-5),
    /** Normalises each head's output before the gate. */
    outNorm: z.boolean().default(false),
    /** Of the projections in and out. */
    bias: z.boolean().default(false),
    ...directionFields,
    backward,
  })
  .prefault({});
type Options = z.output<typeof schema>;

function widths(o: Options, { width }: Shell) {
  const inner = o.innerWidth ?? o.expand * width;
  // A fraction that leaves half a pair leaves it unturned.
  const turned = Math.floor(o.stateSize * o.ropeFraction);
  return { inner, heads: inner / o.headDim, bc: o.groups * o.stateSize, angles: Math.floor(turned / 2) };
}

/** Mamba-3 (SISO), 2026; tensors named as in state-spaces/mamba, `in_proj` in the order z, x, B, C, dt, A, trap, angle. */
export const mamba3 = defineLayer({
  letter: "M3",
  name: "mamba3",
  schema,
  check(o, shell) {
    const { inner, heads, angles } = widths(o, shell);
    const fail = (what: string, name: string, received: unknown, hint: string): never => {
      throw new UsageError(expected(what, `mamba3.${name}`, received), { code: "INVALID_CONFIG", hint });
    };
    if (!Number.isInteger(inner)) fail("a whole inner width", "expand", o.expand, "expand · width must be an integer.");
    if (!Number.isInteger(heads))
      fail(`a divisor of ${inner}`, "headDim", o.headDim, "Heads must divide expand · width.");
    if (heads % o.groups !== 0)
      fail(`a divisor of ${heads} heads`, "groups", o.groups, "Heads share B and C in equal groups.");
    if (angles < 1) fail("states for at least one angle", "stateSize", o.stateSize, "An angle turns a pair of states.");
  },
  parameters(o, shell) {
    const { inner, heads, bc, angles } = widths(o, shell);
    const { width, layerCount } = shell;
    const projected = 2 * inner + 2 * bc + 3 * heads + angles;
    const states = (name: string) =>
      ({
        name,
        shape: [heads, 1, o.stateSize],
        programShape: [heads, o.stateSize],
        dtype: "f32",
        init: constant(1),
      }) as const;
    const walk: ParameterSpec[] = [
      { name: "dt_bias", shape: [heads], dtype: "f32", init: dtBias() },
      states("B_bias"),
      states("C_bias"),
      { name: "D", shape: [heads], dtype: "f32", init: constant(1) },
    ];
    return [
      { name: "in_proj.weight", shape: [projected, width], dtype: "weight", init: kaimingUniform(width) },
      ...biases(o.bias, { in_proj: projected }),
      ...forWays(waysOf(o), walk),
      { name: "B_norm.weight", shape: [o.stateSize], dtype: "f32", init: constant(1) },
      { name: "C_norm.weight", shape: [o.stateSize], dtype: "f32", init: constant(1) },
      ...(o.outNorm ? [{ name: "norm.weight", shape: [inner], dtype: "f32" as const, init: constant(1) }] : []),
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
    const { heads, angles } = widths(o, shell);
    return carried(o, [
      { name: "ssm", shape: [heads, o.headDim, o.stateSize], dtype: "f32" },
      { name: "angle", shape: [heads, angles], dtype: "f32" },
      { name: "key", shape: [heads, o.stateSize], dtype: "f32" },
      { name: "value", shape: [heads, o.headDim], dtype: "f32" },
    ]);
  },
  isCausal: (o) => o.direction === "causal",
  marks: directionMarks,
  forward(scope, x, o, shell) {
    const { inner, heads, bc, angles } = widths(o, shell);
    const project = projection(scope, o.bias);
    const parts = split(project(x, "in_proj"), [inner, inner, bc, bc, heads, heads, heads, angles]);
    const [gate, xs, B, C, dt, a, trap, angle] = parts as [Value, Value, Value, Value, Value, Value, Value, Value];
    // Each group is normalised by itself, all with one weight.
    const normed = (from: Value, name: string): Value => {
      const weight = scope.parameter(name);
      const groups = o.groups === 1 ? [from] : split(from, Array<number>(o.groups).fill(o.stateSize));
      const each = groups.map((group) => rmsNorm({ x: group, weight }, { eps: o.normEps }).y);
      const joined = each.reduce((left, right) => concatenate({ a: left, b: right }, { axis: 1 }).y);
      return splitHeads({ x: joined }, { heads: o.groups }).y; // [T, groups, stateSize]
    };
    const scanned = {
      x: splitHeads({ x: xs }, { heads }).y, // [T, heads, headDim]
      dt,
      a,
      trap,
      angle,
      B: normed(B, "B_norm.weight"),
      C: normed(C, "C_norm.weight"),
      cuSeqlens: scope.cuSeqlens,
    };
    const outputs = waysOf(o).map((way) => {
      const { parameter, state, stateIndex } = along(scope, o, way);
      const heads = mamba3Scan(
        {
          ...scanned,
          bBias: parameter("B_bias"),
          cBias: parameter("C_bias"),
          D: parameter("D"),
          dtBias: parameter("dt_bias"),
          state: state("ssm"),
          angleState: state("angle"),
          keyState: state("key"),
          valueState: state("value"),
          stateIndex,
        },
        { aActivation: o.aActivation, aFloor: o.aFloor, reverse: way.reverse },
      ).y;
      return mergeHeads({ x: heads }).y;
    });
    const y = joinWays(o, outputs);
    if (!o.outNorm) {
      const open = unary({ x: gate }, { kind: "silu" }).y;
      return project(binary({ a: open, b: y }, { kind: "mul" }).y, "out_proj");
    }
    const weight = scope.parameter("norm.weight");
    const outs = gatedRmsNorm({ x: y, gate, weight }, { eps: o.normEps, groups: heads, normBeforeGate: true }).y;
    return project(outs, "out_proj");
  },
});
