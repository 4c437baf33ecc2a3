import {
  attention as attend,
  binary,
  concatenate,
  linear,
  mergeHeads,
  rmsNorm,
  split,
  splitHeads,
  unary,
  type Value,
} from "@krait/graph";
import type { ModelTensor } from "../checkpoints/index.js";
import { rotatedDims } from "../layers/attention.js";
import type { Activation } from "../layers/projection.js";
import { normTensor, published } from "./block.js";
import type { Block } from "./family.js";
import type { Pass } from "./pass.js";

export interface SharedTransformer {
  /** The hybrid layer; its own tensors and states lie under this name. */
  layer: string;
  /** Where the shared weights are saved. */
  home: string;
  /** The how manieth hybrid layer this is: its adapters carry the number. */
  use: number;
  width: number;
  eps: number;
  heads: number;
  keyHeads: number;
  headDim: number;
  rotary: { rotaryBase: number; rotaryFraction: number } | undefined;
  hidden: number;
  activation: Activation;
  bias: boolean;
  rank: number;
  attentionAdapters: boolean;
}

/**
 * The transformer of a hybrid layer: concat(stream, embedded tokens) [T, 2·width] → norm → attention → norm → gated MLP → linear
 * [T, width]. Nothing of it stays in the stream: it is added to what the layer's Mamba-2 reads. There are no residuals inside.
 */
export function sharedTransformer(o: SharedTransformer): (mamba: Block) => Block {
  const { layer, home, use, width, heads, keyHeads, headDim, rank } = o;
  const attention = `${home}.self_attn`;
  const mlp = `${home}.feed_forward`;
  const wide = 2 * width;
  const widths = { q: heads * headDim, k: keyHeads * headDim, v: keyHeads * headDim };

  const adapter = (name: string, input: number, output: number): ModelTensor[] => [
    published(`${name}.${use}.0.weight`, [rank, input]),
    published(`${name}.${use}.1.weight`, [output, rank]),
  ];
  const bias = (name: string, n: number): ModelTensor[] => (o.bias ? [published(`${name}.bias`, [n])] : []);
  const tensors: ModelTensor[] = [
    normTensor(`${home}.input_layernorm.weight`, wide),
    ...(["q", "k", "v"] as const).flatMap((p) => [
      published(`${attention}.${p}_proj.weight`, [widths[p], wide]),
      ...(o.attentionAdapters ? adapter(`${attention}.linear_${p}_adapter_list`, wide, widths[p]) : []),
    ]),
    published(`${attention}.o_proj.weight`, [width, widths.q]),
    normTensor(`${home}.pre_ff_layernorm.weight`, width),
    published(`${mlp}.gate_up_proj.weight`, [2 * o.hidden, width]),
    ...bias(`${mlp}.gate_up_proj`, 2 * o.hidden),
    ...adapter(`${mlp}.gate_up_proj_adapter_list`, width, 2 * o.hidden),
    published(`${mlp}.down_proj.weight`, [width, o.hidden]),
    ...bias(`${mlp}.down_proj`, width),
    published(`${layer}.linear.weight`, [width, width]),
  ];
  const states = (["keys", "values"] as const).map((name) => ({
    name: `${layer}.self_attn.${name}`,
    shape: [keyHeads, headDim],
    growth: "linear" as const,
    dtype: "activation" as const,
  }));

  const project = (pass: Pass, x: Value, name: string): Value => {
    const bias = o.bias && name.startsWith(mlp) ? pass.tensor(`${name}.bias`) : undefined;
    return linear({ x, weight: pass.tensor(`${name}.weight`), bias }).y;
  };
  /** W·x + B·A·x: the product with the shared weight and this layer's correction of it. */
  const adapted = (pass: Pass, x: Value, name: string, list: string | undefined): Value => {
    const a = project(pass, x, name);
    if (!list) return a;
    const low = linear({ x, weight: pass.tensor(`${list}.${use}.0.weight`) }).y;
    return binary({ a, b: linear({ x: low, weight: pass.tensor(`${list}.${use}.1.weight`) }).y }, { kind: "add" }).y;
  };
  const norm = (pass: Pass, x: Value, name: string): Value =>
    rmsNorm({ x, weight: pass.tensor(name) }, { eps: o.eps, outDtype: pass.dtype }).y;

  const mix = (pass: Pass, x: Value): Value => {
    const [q, k, v] = (["q", "k", "v"] as const).map((p) =>
      adapted(
        pass,
        x,
        `${attention}.${p}_proj`,
        o.attentionAdapters ? `${attention}.linear_${p}_adapter_list` : undefined,
      ),
    );
    const scope = pass.scope(`${layer}.self_attn`);
    const { y } = attend(
      {
        q: splitHeads({ x: q! }, { heads }).y,
        k: splitHeads({ x: k! }, { heads: keyHeads }).y,
        v: splitHeads({ x: v! }, { heads: keyHeads }).y,
        cuSeqlens: scope.cuSeqlens,
        position: scope.position,
        keys: scope.state("keys"),
        values: scope.state("values"),
        stateIndex: scope.stateIndex,
      },
      {
        window: 0,
        // Heads are twice as wide as the stream's share; the reference scales as if they were not.
        scale: (headDim / 2) ** -0.5,
        rotaryDims: rotatedDims(o.rotary?.rotaryFraction ?? 0, headDim),
        rotaryBase: o.rotary?.rotaryBase ?? 10000,
      },
    );
    return project(pass, mergeHeads({ x: y }).y, `${attention}.o_proj`);
  };

  return (mamba) => ({
    kind: "hybrid",
    prefix: layer,
    tensors: [...tensors, ...mamba.tensors],
    states: [...states, ...mamba.states],
    forward(pass) {
      const added = pass.graph.within(`${layer}.shared_transformer`, () => {
        const both = concatenate({ a: pass.stream(), b: pass.embedded }, { axis: 1 }).y; // [T, 2·width]
        const mixed = mix(pass, norm(pass, both, `${home}.input_layernorm.weight`));
        const x = norm(pass, mixed, `${home}.pre_ff_layernorm.weight`);
        const inner = adapted(pass, x, `${mlp}.gate_up_proj`, `${mlp}.gate_up_proj_adapter_list`);
        const [gate, up] = split(inner, [o.hidden, o.hidden]);
        const open = unary({ x: gate! }, { kind: o.activation }).y;
        const gated = binary({ a: open, b: up! }, { kind: "mul" }).y;
        return project(pass, project(pass, gated, `${mlp}.down_proj`), `${layer}.linear`);
      });
      pass.lend(added, () => mamba.forward(pass));
    },
  });
}
