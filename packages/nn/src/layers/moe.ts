import { expected, UsageError } from "@krait/core";
import { binary, expertLinear, linear, routeExperts, split, unary } from "@krait/graph";
import { z } from "zod";
import { constant, kaimingUniform } from "../init.js";
import { defineLayer } from "./layer.js";
import { activations, biases, projection } from "./projection.js";

const schema = z
  .strictObject({
    experts: z.int().positive().max(1024).default(8),
    /** Experts that a token is sent to. */
    topK: z.int().positive().max(64).default(2),
    /** Hidden width of one expert. */
    hidden: z
      .int()
      .positive()
      .max(1 << 20)
      .default(512),
    activation: z.enum(activations).default("silu"),
    /** Whether experts (and the shared one) are gated MLPs. */
    gated: z.boolean().default(true),
    scoring: z.enum(["softmax", "sigmoid"]).default("softmax"),
    /** Divides the weights of the chosen by their sum. */
    normalize: z.boolean().default(false),
    scale: z.number().default(1),
    /** A correction that is added to the scores for the choice alone. */
    correction: z.boolean().default(false),
    groups: z.int().positive().default(1),
    keptGroups: z.int().positive().default(1),
    /** Hidden width of an expert that every token goes to; 0 for none. */
    sharedHidden: z
      .int()
      .min(0)
      .max(1 << 20)
      .default(0),
    /** Of the shared expert. */
    sharedBias: z.boolean().default(false),
  })
  .prefault({});

/**
 * Mixture of experts: a router sends each token to topK of them, their outputs are added by its weights; no token is dropped.
 * Shazeer et al. 2017; sigmoid scores with a correction and a shared expert as in DeepSeek-V3, arXiv 2412.19437.
 */
export const moe = defineLayer({
  letter: "E",
  name: "moe",
  schema,
  check(o) {
    const fail = (what: string, name: string, received: unknown, hint: string): never => {
      throw new UsageError(expected(what, `moe.${name}`, received), { code: "INVALID_CONFIG", hint });
    };
    if (o.experts % o.groups !== 0)
      fail(`a divisor of ${o.experts} experts`, "groups", o.groups, "Groups are of equal size.");
    if (o.keptGroups > o.groups)
      fail(`at most ${o.groups}`, "keptGroups", o.keptGroups, "Groups are chosen among themselves.");
    const open = (o.experts / o.groups) * o.keptGroups;
    if (o.topK > open) fail(`at most ${open}`, "topK", o.topK, "An expert is chosen once.");
  },
  parameters(o, { width, layerCount }) {
    const rows = o.gated ? 2 * o.hidden : o.hidden;
    const sharedRows = o.gated ? 2 * o.sharedHidden : o.sharedHidden;
    const residual = 1 / Math.sqrt(layerCount);
    return [
      { name: "router.weight", shape: [o.experts, width], dtype: "weight", init: kaimingUniform(width) },
      ...(o.correction ? [{ name: "router.bias", shape: [o.experts], dtype: "f32" as const, init: constant(0) }] : []),
      { name: "experts.up.weight", shape: [o.experts, rows, width], dtype: "weight", init: kaimingUniform(width) },
      {
        name: "experts.down.weight",
        shape: [o.experts, width, o.hidden],
        dtype: "weight",
        init: kaimingUniform(o.hidden, residual),
      },
      ...(o.sharedHidden > 0
        ? [
            {
              name: "shared_up.weight",
              shape: [sharedRows, width],
              dtype: "weight" as const,
              init: kaimingUniform(width),
            },
            ...biases(o.sharedBias, { shared_up: sharedRows }),
            {
              name: "shared_down.weight",
              shape: [width, o.sharedHidden],
              dtype: "weight" as const,
              init: kaimingUniform(o.sharedHidden, residual),
            },
            ...biases(o.sharedBias, { shared_down: width }),
          ]
        : []),
    ];
  },
  states: () => [],
  routes: ({ topK, experts }) => ({ topK, experts }),
  forward(scope, x, o) {
    const logits = linear({ x, weight: scope.parameter("router.weight") }, { outDtype: "f32" }).y; // [T, experts]
    const { experts, weights } = routeExperts(
      { logits, bias: o.correction ? scope.parameter("router.bias") : undefined, given: scope.routing?.given },
      {
        topK: o.topK,
        scoring: o.scoring,
        normalize: o.normalize,
        scale: o.scale,
        groups: o.groups,
        keptGroups: o.keptGroups,
      },
    );
    scope.routing?.chose(experts);
    const hidden = expertLinear(
      { x, weight: scope.parameter("experts.up.weight"), experts },
      { activation: o.activation, gated: o.gated },
    ).y; // [T, topK · hidden]
    const routed = expertLinear(
      { x: hidden, weight: scope.parameter("experts.down.weight"), experts, weights },
      { combine: true },
    ).y;
    if (o.sharedHidden === 0) return routed;
    const project = projection(scope, o.sharedBias);
    let inner = project(x, "shared_up", o.gated ? "identity" : o.activation);
    if (o.gated) {
      const [gate, up] = split(inner, [o.sharedHidden, o.sharedHidden]);
      inner = binary({ a: unary({ x: gate! }, { kind: o.activation }).y, b: up! }, { kind: "mul" }).y;
    }
    return binary({ a: routed, b: project(inner, "shared_down") }, { kind: "add" }).y;
  },
});
