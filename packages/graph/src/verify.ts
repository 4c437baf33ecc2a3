import { InternalError } from "@krait/core";
import type { Graph, Value } from "./value.js";

/** The value and, of a view, all that it shows: their bytes change together. */
function seenThrough(value: Value): Value[] {
  return value.alias?.kind === "view" ? [value, ...seenThrough(value.alias.of)] : [value];
}

/**
 * Checks what every pass must keep: values are defined before they are used, inner dimensions are constant, views stay inside
 * their storage, and no one reads an operand that was updated in place. Throws `InternalError`.
 */
export function verify(graph: Graph): void {
  const fail = (message: string): never => {
    throw new InternalError(`Expected a well-formed program for ${graph.name} but received one where ${message}`, {
      code: "INVALID_PROGRAM",
    });
  };
  const defined = new Set<Value>();
  const stale = new Set<Value>();
  for (const value of graph.bindings.values()) if (value.binding?.kind !== "output") defined.add(value);

  for (const node of graph.nodes) {
    for (const [name, value] of Object.entries(node.inputs)) {
      if (!value) continue;
      if (!defined.has(value)) fail(`${node.op.name} reads ${name} (${value}) before it is computed`);
      if (seenThrough(value).some((v) => stale.has(v)))
        fail(`${node.op.name} reads ${name} (${value}) after it was updated in place`);
    }
    for (const [name, operand] of Object.entries(node.op.inputs)) {
      const value = node.inputs[name];
      if (operand.inout && value) {
        if (value.storage.binding?.kind !== "state") fail(`${node.op.name} updates ${value}, which is not a state`);
        for (const seen of seenThrough(value)) {
          if (stale.has(seen)) fail(`${node.op.name} updates ${name} (${value}) twice`);
          stale.add(seen);
        }
      }
    }
    for (const [name, value] of Object.entries(node.outputs)) {
      if (defined.has(value)) fail(`${node.op.name} computes ${name} (${value}) twice`);
      defined.add(value);
    }
  }

  for (const value of graph.values) {
    if (!defined.has(value)) fail(`${value} is never computed`);
    if (value.shape.length > 6) fail(`${value} has more than 6 dimensions`);
    value.shape.forEach((dim, axis) => {
      if (axis > 0 && dim.constant === undefined) fail(`${value} has a symbolic inner dimension`);
      if (!dim.isAffine) fail(`${value} has a dimension that is a product of symbols`);
      if ((dim.constant ?? 0) < 0) fail(`${value} has a negative dimension`);
      for (const s of dim.symbols)
        if (!graph.symbols.includes(s)) fail(`${value} uses symbol ${s.name} of another program`);
    });
    const last = value.shape.reduce(
      (sum, dim, axis) => sum + Math.max(0, dim.capacity - 1) * value.strides[axis]!,
      value.offset,
    );
    if (value.elements.capacity > 0 && last >= value.storage.elements.capacity)
      fail(`${value} reaches beyond its storage`);
  }
}
