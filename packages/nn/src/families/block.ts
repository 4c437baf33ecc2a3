import { parseOptions } from "@krait/core";
import type { z } from "zod";
import { asInput, type ModelTensor, type TensorPart } from "../checkpoints/index.js";
import { constant } from "../init.js";
import type { LayerKind, ParameterSpec, Shell } from "../layers/index.js";
import type { Block } from "./family.js";

/** Where a layer's tensor comes from: the published name, or parts laid end to end. */
export type Source = string | readonly TensorPart[];

export interface LayerBlock<S extends z.ZodType> {
  /** Names the block's tensors and states in the program. */
  prefix: string;
  /** Published name of the weight of the norm before the layer. */
  norm: string;
  eps: number;
  kind: LayerKind<S>;
  options: z.input<S>;
  shell: Shell;
  /** Published sources by the layer's own tensor names. */
  sources(name: string, spec: ParameterSpec): Source;
}

/** stream + layer(norm(stream)). */
export function layerBlock<S extends z.ZodType>(block: LayerBlock<S>): Block {
  const { prefix, norm, eps, kind, shell } = block;
  const options = asInput(() => {
    const parsed = parseOptions(kind.schema, block.options, prefix);
    kind.check(parsed, shell);
    return parsed;
  });
  const tensors = kind.parameters(options, shell).map((spec): ModelTensor => {
    const source = block.sources(spec.name, spec);
    const parts = typeof source === "string" ? [{ tensor: source, shape: spec.shape }] : source;
    return { ...spec, name: `${prefix}.${spec.name}`, parts };
  });
  const routes = kind.routes?.(options);
  return {
    kind: kind.name,
    prefix,
    tensors: [normTensor(norm, shell.width), ...tensors],
    states: kind.states(options, shell).map((state) => ({ ...state, name: `${prefix}.${state.name}` })),
    ...(routes && { routed: { name: prefix, ...routes } }),
    forward(pass) {
      pass.graph.within(prefix, () => {
        const x = pass.normed(norm, eps);
        pass.add(kind.forward(pass.scope(prefix), x, options, shell));
      });
    },
  };
}

/** A tensor that the program keeps under its published name. */
export function published(name: string, shape: readonly number[], dtype: "weight" | "f32" = "weight"): ModelTensor {
  return { name, shape, dtype, init: constant(0), parts: [{ tensor: name, shape }] };
}

export function normTensor(name: string, width: number): ModelTensor {
  return published(name, [width], "f32");
}

/** Rows of several published matrices (or elements of vectors), one after the other, each with a scale. */
export function stacked(
  columns: number | undefined,
  parts: readonly { tensor: string; rows: number; scale?: TensorPart["scale"] }[],
): readonly TensorPart[] {
  return parts.map(({ tensor, rows, scale = 1 }) => ({
    tensor,
    shape: columns === undefined ? [rows] : [rows, columns],
    scale,
  }));
}
