import { expected, UsageError } from "@krait/core";
import { attention as attend, causalConv1d, mergeHeads, split, splitHeads } from "@krait/graph";
import { z } from "zod";
import { kaimingUniform } from "../init.js";
import { defineLayer, type ParameterSpec, type Shell } from "./layer.js";
import { biases, projection } from "./projection.js";

const schema = z
  .strictObject({
    heads: z.int().positive().default(4),
    /** Heads of keys and values; queries share them in equal groups (GQA). */
    keyHeads: z.int().positive().optional(),
    headDim: z.int().positive().max(256).optional(),
    /** Keys a query sees, itself included; "full" for every earlier one, whose keys and values are then kept for all tokens. */
    window: z
      .union([
        z
          .int()
          .positive()
          .max(1 << 20),
        z.literal("full"),
      ])
      .default(1024),
    /** First tokens of a sequence that every query sees beside its window. */
    sinks: z.int().min(0).max(4096).default(4),
    /** Rotated part of each head, as a share. */
    rotaryFraction: z.number().min(0).max(1).default(1),
    rotaryBase: z.number().positive().default(10000),
    /** Multiplies q·k; 1/√headDim when absent. */
    scale: z.number().positive().optional(),
    /** Of both projections. */
    bias: z.boolean().default(false),
    /** Width of a causal convolution over queries, keys and values; 0 for none. */
    convWidth: z.int().min(0).max(16).default(0),
  })
  .prefault({});
type Options = z.output<typeof schema>;

function widths(o: Options, { width }: Shell) {
  const headDim = o.headDim ?? width / o.heads;
  const keyHeads = o.keyHeads ?? o.heads;
  return { headDim, keyHeads, rotaryDims: 2 * Math.floor((o.rotaryFraction * headDim) / 2) };
}

function convolution({ convWidth }: Options, channels: number): ParameterSpec[] {
  if (convWidth === 0) return [];
  const init = kaimingUniform(convWidth);
  return [
    {
      name: "conv1d.weight",
      shape: [channels, 1, convWidth],
      programShape: [channels, convWidth],
      dtype: "f32",
      init,
    },
    { name: "conv1d.bias", shape: [channels], dtype: "f32", init },
  ];
}

/**
 * Causal attention over a sliding window and the first tokens, with a ring of keys and values as state, or over all earlier tokens, whose
 * keys and values grow with the sequence; rotary positions.
 */
export const attention = defineLayer({
  letter: "A",
  name: "attention",
  schema,
  check(o, shell) {
    const { headDim, keyHeads } = widths(o, shell);
    const fail = (what: string, name: string, received: unknown, hint: string): never => {
      throw new UsageError(expected(what, `attention.${name}`, received), { code: "INVALID_CONFIG", hint });
    };
    if (!Number.isInteger(headDim))
      fail(`a divisor of width ${shell.width}`, "heads", o.heads, "Heads must divide the width, or set headDim.");
    if (headDim > 256) fail("at most 256 per head", "headDim", headDim, "Use more heads.");
    if (o.heads % keyHeads !== 0)
      fail(`a divisor of ${o.heads} heads`, "keyHeads", keyHeads, "Query heads share key heads equally.");
  },
  parameters(o, shell) {
    const { headDim, keyHeads } = widths(o, shell);
    const { width, layerCount } = shell;
    const inner = o.heads * headDim;
    return [
      {
        name: "in_proj.weight",
        shape: [inner + 2 * keyHeads * headDim, width],
        dtype: "weight",
        init: kaimingUniform(width),
      },
      ...biases(o.bias, { in_proj: inner + 2 * keyHeads * headDim }),
      ...convolution(o, inner + 2 * keyHeads * headDim),
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
    const { headDim, keyHeads } = widths(o, shell);
    // One slot more than the window needs, so that a window of 1 still has a ring.
    const kept =
      o.window === "full"
        ? ({ growth: "linear", shape: [keyHeads, headDim] } as const)
        : { shape: [o.sinks + o.window, keyHeads, headDim] };
    return [
      ...(o.convWidth > 0
        ? [{ name: "conv", shape: [o.convWidth - 1, (o.heads + 2 * keyHeads) * headDim], dtype: "f32" as const }]
        : []),
      { name: "keys", ...kept, dtype: "activation" },
      { name: "values", ...kept, dtype: "activation" },
    ];
  },
  forward(scope, x, o, shell) {
    const { headDim, keyHeads, rotaryDims } = widths(o, shell);
    const project = projection(scope, o.bias);
    let projected = project(x, "in_proj"); // [T, (heads + 2·keyHeads)·headDim]
    if (o.convWidth > 0) {
      projected = causalConv1d({
        x: projected,
        weight: scope.parameter("conv1d.weight"),
        bias: scope.parameter("conv1d.bias"),
        cuSeqlens: scope.cuSeqlens,
        state: scope.state("conv"),
        stateIndex: scope.stateIndex,
      }).y;
    }
    const [q, k, v] = split(projected, [o.heads * headDim, keyHeads * headDim, keyHeads * headDim]);
    const mixed = attend(
      {
        q: splitHeads({ x: q! }, { heads: o.heads }).y,
        k: splitHeads({ x: k! }, { heads: keyHeads }).y,
        v: splitHeads({ x: v! }, { heads: keyHeads }).y,
        cuSeqlens: scope.cuSeqlens,
        position: scope.position,
        keys: scope.state("keys"),
        values: scope.state("values"),
        stateIndex: scope.stateIndex,
      },
      {
        ...(o.window === "full" ? { window: 0, sinks: 0 } : { window: o.window, sinks: o.sinks }),
        scale: o.scale ?? 0,
        rotaryDims,
        rotaryBase: o.rotaryBase,
      },
    ).y;
    return project(mergeHeads({ x: mixed }).y, "out_proj");
  },
});
