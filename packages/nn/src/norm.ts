import { layerNorm, rmsNorm, type Value } from "@krait/graph";
import { constant } from "./init.js";
import type { ParameterSpec } from "./layers/index.js";

/** Norms a stack may have: the root mean square alone, or mean and variance with a bias. */
export const normKinds = ["rms", "layer"] as const;
export type NormKind = (typeof normKinds)[number];

/** The tensors of the norm `name` over [T, width]: its weight, and its bias where the kind has one. */
export function normParameters(kind: NormKind, name: string, width: number): ParameterSpec[] {
  const vector = (part: string, value: number): ParameterSpec => ({
    name: `${name}.${part}`,
    shape: [width],
    dtype: "f32",
    init: constant(value),
  });
  return kind === "rms" ? [vector("weight", 1)] : [vector("weight", 1), vector("bias", 0)];
}

/** x [T, width], or x + residual, normalised; `sum` is x + residual where there is a residual. */
export function normalise(
  kind: NormKind,
  name: string,
  tensor: (name: string) => Value,
  inputs: { x: Value; residual?: Value | undefined },
  attributes: { eps: number; outDtype: "f32" | "bf16" },
): { y: Value; sum: Value | undefined } {
  const weight = tensor(`${name}.weight`);
  if (kind === "rms") return rmsNorm({ ...inputs, weight }, attributes);
  return layerNorm({ ...inputs, weight, bias: tensor(`${name}.bias`) }, attributes);
}
