// Programs that rows time.
import { Graph } from "../../packages/graph/dist/index.js";

/** A graph over one sequence of `length` tokens. */
export function packed(name, length) {
  const graph = new Graph(name);
  const T = graph.symbol("T", length);
  const S = graph.symbol("S", 1);
  const cuSeqlens = graph.cuSeqlens("cuSeqlens", S, T);
  return { graph, T, S, cuSeqlens, inputs: { cuSeqlens: Int32Array.of(0, length) }, symbols: { T: length, S: 1 } };
}
