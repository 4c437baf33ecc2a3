import { expected, UsageError } from "@krait/core";
import { attention as attend, causalConv1d, mergeHeads, split, splitHeads } from "@krait/graph";
import { z } from "zod";
import { kaimingUniform } from "../init.js";
import { defineLayer, type LayerScope, type ParameterSpec, type Shell, type StateSpec } from "./layer.js";
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
    /** Whether a query sees keys behind itself in time too: then whole sequences are run, and nothing is carried. */
    direction: z.enum(["causal", "bidirectional"]).default("causal"),
    /** Keys ahead that a query of a bidirectional layer sees; as many as before it when absent. */
    windowAhead: z
      .int()
      .min(0)
      .max(1 << 20)
      .optional(),
    /**
     * Most global tokens of a sequence; 0 for none. All later queries see them, and in a bidirectional layer they and all others see each
     * other. Which tokens they are is said with each run.
     */
    globalTokens: z
      .int()
      .min(0)
      .max(1 << 16)
      .default(0),
    /** First tokens of a sequence that every query sees beside its window. */
    sinks: z.int().min(0).max(4096).default(4),
    /** Rotated part of each head, as a share. */
    rotaryFraction: z.number().min(0).max(1).default(1),
    rotaryBase: z.number().positive().default(10000),
    /** Multiplies q·k; 1/√headDim when absent. */
    scale: z.number().positive().optional(),
    /** Of both projections. */
    bias: z.boolean().default(false),
    /** Of the projection out, where it is not as `bias`. */
    outBias: z.boolean().optional(),
    /** Width of a causal convolution over queries, keys and values; 0 for none. */
    convWidth: z.int().min(0).max(16).default(0),
  })
  .prefault({});
type Options = z.output<typeof schema>;

function widths(o: Options, { width }: Shell) {
  const headDim = o.headDim ?? width / o.heads;
  const keyHeads = o.keyHeads ?? o.heads;
  return { headDim, keyHeads, rotaryDims: rotatedDims(o.rotaryFraction, headDim) };
}

/** Rotated dimensions of a head, an even number. A share that was made of whole numbers gives them back, whatever its last bit is. */
export function rotatedDims(fraction: number, headDim: number): number {
  return 2 * Math.floor((fraction * headDim) / 2 + 1e-6);
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
 * Attention over a window and the first tokens, or over all; rotary positions. Causal, it carries a ring of keys and values, or all of them
 * where it sees all, and those of global tokens.
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
    if (o.windowAhead !== undefined && o.direction === "causal")
      fail("none in a causal layer", "windowAhead", o.windowAhead, 'Set direction: "bidirectional" to look ahead.');
    if (o.direction === "bidirectional" && o.convWidth > 0)
      fail("0 in a bidirectional layer", "convWidth", o.convWidth, "The convolution is causal.");
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
      ...biases(o.outBias ?? o.bias, { out_proj: width }),
    ];
  },
  states(o, shell) {
    if (o.direction === "bidirectional") return [];
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
      ...(o.globalTokens > 0 ? globalStates(o.globalTokens, keyHeads, headDim) : []),
    ];
  },
  marks: { b: { direction: "bidirectional" } },
  isCausal: (o) => o.direction === "causal",
  globalTokens: (o) => o.globalTokens,
  forward(scope, x, o, shell) {
    const { headDim, keyHeads, rotaryDims } = widths(o, shell);
    let projected = projection(scope, o.bias)(x, "in_proj"); // [T, (heads + 2·keyHeads)·headDim]
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
        ...carried(scope, o),
      },
      {
        ...pattern(o),
        scale: o.scale ?? 0,
        rotaryDims,
        rotaryBase: o.rotaryBase,
      },
    ).y;
    return projection(scope, o.outBias ?? o.bias)(mergeHeads({ x: mixed }).y, "out_proj");
  },
});

/** Keys, values and positions of global tokens, which outlive the window. */
function globalStates(count: number, keyHeads: number, headDim: number): StateSpec[] {
  const shape = [count, keyHeads, headDim];
  return [
    { name: "globalKeys", shape, dtype: "activation" },
    { name: "globalValues", shape, dtype: "activation" },
    { name: "globalPositions", shape: [count], dtype: "i64" },
  ];
}

/** What the op takes of global tokens and of earlier runs. */
function carried(scope: LayerScope, o: Options) {
  const marked = o.globalTokens > 0 ? scope.globals : undefined;
  const globals = { globals: marked?.tokens, globalBorders: marked?.borders };
  if (o.direction === "bidirectional") return globals;
  const keys = scope.state("keys"); // absent where whole sequences are run
  return {
    ...globals,
    keys,
    values: scope.state("values"),
    stateIndex: scope.stateIndex,
    ...(marked &&
      keys && {
        globalKeys: scope.state("globalKeys"),
        globalValues: scope.state("globalValues"),
        globalPositions: scope.state("globalPositions"),
      }),
  };
}

/** Which keys a query sees, as the op has it. */
function pattern(o: Options) {
  const isCausal = o.direction === "causal";
  if (o.window === "full") return { window: 0, sinks: 0, ahead: isCausal ? 0 : (o.windowAhead ?? -1) };
  return { window: o.window, sinks: o.sinks, ahead: isCausal ? 0 : (o.windowAhead ?? o.window - 1) };
}
