import { binary, unary, type Value } from "@krait/graph";
import { z } from "zod";
import type { LayerScope, ParameterSpec, StateSpec } from "./layer.js";

export const directions = ["causal", "reversed", "bidirectional"] as const;

/** Options of a mixer that may walk its sequences both ways. */
export const directionFields = {
  /** From the first token to the last, from the last to the first, or both ways, whose outputs are joined before the output projection. */
  direction: z.enum(directions).default("causal"),
  /** How the outputs of both ways are joined. */
  combine: z.enum(["sum", "mean"]).default("sum"),
};

/** "M2r" is an M2 that is reversed, "M2b" one that is bidirectional, whatever the section says. */
export const directionMarks = { r: { direction: "reversed" }, b: { direction: "bidirectional" } } as const;

/** Whether the way back has a convolution and a scan of its own, named with `_b` as in Vim, or those of the way forward. */
export const backward = z.enum(["separate", "shared"]).default("separate");

interface Direction {
  direction: (typeof directions)[number];
  combine: "sum" | "mean";
}

/** One walk over the sequences, and whose tensors it uses. */
export interface Way {
  reverse: boolean;
  own: boolean;
}

/** The walks of a mixer. */
export function waysOf({ direction, backward }: Direction & { backward: string }): Way[] {
  const forward = { reverse: false, own: false };
  if (direction === "causal") return [forward];
  const back = { reverse: true, own: direction === "bidirectional" && backward !== "shared" };
  return direction === "reversed" ? [back] : [forward, back];
}

/** The name of a tensor of the way back: `A_log` is `A_b_log`, `dt_proj.weight` is `dt_proj_b.weight`. */
export function backwardName(name: string): string {
  return name === "A_log" ? "A_b_log" : name.replace(/^[^.]+/, "$&_b");
}

/** Tensors of one walk, and where the way back has its own, those too. */
export function forWays(ways: readonly Way[], specs: readonly ParameterSpec[]): ParameterSpec[] {
  const own = ways.some((way) => way.own) ? specs.map((spec) => ({ ...spec, name: backwardName(spec.name) })) : [];
  return [...specs, ...own];
}

/** Only a causal mixer carries something from run to run: a walk back begins at the end of the whole sequence. */
export function carried({ direction }: Direction, specs: readonly StateSpec[]): StateSpec[] {
  return direction === "causal" ? [...specs] : [];
}

/** What a walk sees of the layer's tensors and states. */
export function along(scope: LayerScope, { direction }: Direction, way: Way) {
  const state = (name: string) => (direction === "causal" ? scope.state(name) : undefined);
  return {
    parameter: (name: string) => scope.parameter(way.own ? backwardName(name) : name),
    state,
    stateIndex: direction === "causal" ? scope.stateIndex : undefined,
  };
}

/** The outputs [T, D] of the walks as one. */
export function joinWays({ combine }: Direction, outputs: readonly Value[]): Value {
  const sum = outputs.reduce((a, b) => binary({ a, b }, { kind: "add" }).y);
  if (combine === "sum" || outputs.length < 2) return sum;
  return unary({ x: sum }, { kind: "identity", scale: 1 / outputs.length }).y;
}
