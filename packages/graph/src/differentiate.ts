import { noGradient } from "./no-gradient.js";
import { binary } from "./ops/binary.js";
import type { Graph, Value } from "./value.js";

/**
 * Adds the backward ops of `loss` to its graph and returns the gradient of each value in `wrt` (undefined where nothing flows).
 * Reverse mode over the recorded calls; an op without a gradient rule on the way throws `UsageError` (NO_GRADIENT).
 *
 * @param seed gradient of the loss with respect to `output`, of the same shape
 */
export function differentiate(graph: Graph, output: Value, seed: Value, wrt: readonly Value[]): (Value | undefined)[] {
  const needed = new Set<Value>(wrt);
  for (const node of graph.nodes) {
    if (Object.values(node.inputs).some((v) => v && needed.has(v))) {
      for (const out of Object.values(node.outputs)) needed.add(out);
    }
  }
  const gradients = new Map<Value, Value>([[output, seed]]);
  for (const node of [...graph.nodes].reverse()) {
    const incoming: Record<string, Value | undefined> = {};
    for (const [name, value] of Object.entries(node.outputs)) incoming[name] = gradients.get(value);
    const flows = Object.values(incoming).some((g) => g !== undefined);
    if (!flows || !Object.values(node.inputs).some((v) => v && needed.has(v))) continue;
    const rule = node.op.spec.gradient;
    if (!rule) return noGradient(node.op.name);
    const call = { graph, inputs: node.inputs, outputs: node.outputs, attributes: node.attributes };
    for (const [name, gradient] of Object.entries(rule(call, incoming))) {
      const input = node.inputs[name];
      if (!gradient || !input || !needed.has(input)) continue;
      const sofar = gradients.get(input);
      gradients.set(input, sofar ? binary({ a: sofar, b: gradient }, { kind: "add" }).y : gradient);
    }
  }
  return wrt.map((v) => gradients.get(v));
}
