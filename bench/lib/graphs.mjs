// Programs that rows time.
import { embedding, Graph, linear, unary } from "../../packages/graph/dist/index.js";
import { Stack } from "../../packages/nn/dist/index.js";

/** A graph over one sequence of `length` tokens. */
export function packed(name, length, capacity = length) {
  const graph = new Graph(name);
  const T = graph.symbol("T", capacity);
  const S = graph.symbol("S", 1);
  const cuSeqlens = graph.cuSeqlens("cuSeqlens", S, T);
  return { graph, T, S, cuSeqlens, inputs: { cuSeqlens: Int32Array.of(0, length) }, symbols: { T: length, S: 1 } };
}

/** Token ids → embedding → layers → final norm, and with `head` the logits of the tied table; the state is carried. */
export function stack({ length, width = 768, layout, dtype, head = false, vocabulary = 50280, options = {} }) {
  const p = packed("stack", length);
  const built = new Stack({ width, layout, ...options });
  const { parameters, states } = built.blueprint();
  const stored = (s) => (s.dtype === "f32" ? "f32" : dtype);
  const tensors = new Map();
  for (const s of parameters) tensors.set(s.name, p.graph.parameter(s.name, stored(s), s.programShape ?? s.shape));
  for (const s of states) tensors.set(s.name, p.graph.state(s.name, stored(s), [1, ...s.shape]));
  const context = {
    cuSeqlens: p.cuSeqlens,
    stateIndex: p.graph.slots("stateIndex", p.S, 1),
    position: p.graph.input("position", "i64", [p.S]),
  };
  const ids = p.graph.indices("ids", p.T, 0, vocabulary);
  const table = p.graph.parameter("table", dtype, [vocabulary, width]);
  const x = embedding({ table, ids }, { outDtype: built.streamDType(dtype) }).y;
  const features = built.forward(p.graph, x, context, tensors, dtype);
  if (head) {
    const cast = dtype === "f32" ? features : unary({ x: features }, { kind: "identity", outDtype: dtype }).y;
    p.graph.output("logits", linear({ x: cast, weight: table }, { outDtype: "f32" }).y);
  } else {
    p.graph.output("features", features);
  }
  Object.assign(p.inputs, {
    stateIndex: Int32Array.of(0),
    position: BigInt64Array.of(0n),
    ids: Int32Array.from({ length }, (_, i) => (i * 7919) % vocabulary),
  });
  return p;
}
