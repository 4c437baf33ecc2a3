import { Graph } from "./value.js";
import { verify } from "./verify.js";

/**
 * Builds a program: `body` declares symbols, inputs, parameters and states on the graph, calls ops, names outputs.
 *
 *     const program = trace("norm", (g) => {
 *       const x = g.input("x", "f32", [g.symbol("T", 4096), 64]);
 *       g.output("y", rmsNorm({ x, weight: g.parameter("weight", "f32", [64]) }).y);
 *     });
 */
export function trace(name: string, body: (graph: Graph) => void): Graph {
  const graph = new Graph(name);
  body(graph);
  verify(graph);
  return graph;
}
