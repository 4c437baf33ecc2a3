import type { ParameterSpec } from "../layers/index.js";
import { type Source, stacked } from "./block.js";

/** Sources of an attention layer whose queries, keys and values are published apart: q_proj, k_proj, v_proj, o_proj. */
export function attentionSources(
  prefix: string,
  widths: { width: number; heads: number; keyHeads: number; headDim: number },
  scales: { input?: number; key?: number; output?: number } = {},
) {
  const { width, heads, keyHeads, headDim } = widths;
  const { input = 1, key = 1, output = 1 } = scales;
  return (name: string, spec: ParameterSpec): Source => {
    const [projection, kind] = name.split(".") as [string, "weight" | "bias"];
    const columns = kind === "weight" ? width : undefined;
    // The scale of the input passes through weights only; those of results take the bias along.
    const scale = kind === "weight" ? input : 1;
    if (projection === "out_proj") {
      return [{ tensor: `${prefix}.o_proj.${kind}`, shape: spec.shape, scale: output }];
    }
    return stacked(columns, [
      { tensor: `${prefix}.q_proj.${kind}`, rows: heads * headDim, scale },
      { tensor: `${prefix}.k_proj.${kind}`, rows: keyHeads * headDim, scale: scale * key },
      { tensor: `${prefix}.v_proj.${kind}`, rows: keyHeads * headDim, scale },
    ]);
  };
}

/** Sources of a gated MLP published as gate_proj, up_proj and down_proj. */
export function gatedMlpSources(
  prefix: string,
  widths: { width: number; hidden: number },
  scales: { gate?: number; output?: number } = {},
) {
  return (name: string, spec: ParameterSpec): Source => {
    const [projection, kind] = name.split(".") as [string, "weight" | "bias"];
    if (projection === "down")
      return [{ tensor: `${prefix}.down_proj.${kind}`, shape: spec.shape, scale: scales.output ?? 1 }];
    return stacked(kind === "weight" ? widths.width : undefined, [
      { tensor: `${prefix}.gate_proj.${kind}`, rows: widths.hidden, scale: scales.gate ?? 1 },
      { tensor: `${prefix}.up_proj.${kind}`, rows: widths.hidden },
    ]);
  };
}
