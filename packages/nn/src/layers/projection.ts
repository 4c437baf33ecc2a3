import { linear, type Value } from "@krait/graph";
import { constant } from "../init.js";
import type { LayerScope, ParameterSpec } from "./layer.js";

/** Activations that a `linear` applies by itself. */
export const activations = ["identity", "silu", "gelu", "gelu_tanh", "relu", "relu2"] as const;
export type Activation = (typeof activations)[number];

/** The bias vectors of projections that have them: name of the projection → width. They start at zero. */
export function biases(present: boolean, widths: Readonly<Record<string, number>>): ParameterSpec[] {
  if (!present) return [];
  return Object.entries(widths).map(([name, width]) => ({
    name: `${name}.bias`,
    shape: [width],
    dtype: "weight",
    init: constant(0),
  }));
}

/** x · weightᵀ (+ bias) by the projection's name. */
export function projection(scope: LayerScope, bias: boolean) {
  return (x: Value, name: string, activation: Activation = "identity"): Value =>
    linear(
      { x, weight: scope.parameter(`${name}.weight`), bias: bias ? scope.parameter(`${name}.bias`) : undefined },
      { activation },
    ).y;
}
