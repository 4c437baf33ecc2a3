import { expected, UsageError } from "@krait/core";
import { deriveBorders } from "./borders.js";
import type { Sym } from "./expr.js";
import type { ReferenceTensor } from "./op.js";
import type { Graph, Value } from "./value.js";

export interface Interpretation {
  outputs: Record<string, ReferenceTensor>;
  states: Record<string, ReferenceTensor>;
}

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/**
 * Runs a program op by op through the float64 references: the oracle for every device. Slow; for tests and for reading.
 *
 * @param bindings inputs, parameters and states by name, row-major; borders and indices as exact integers
 */
export function interpret(
  graph: Graph,
  symbols: Record<string, number>,
  bindings: Record<string, ArrayLike<number>>,
): Interpretation {
  const values = new Map<string, number>(Object.entries(symbols));
  const storages = new Map<Value, Float64Array>();
  const shapeOf = (value: Value): number[] => value.shape.map((d) => d.evaluate((s) => symbolValue(s)));
  const symbolValue = (s: Sym): number => {
    const known = values.get(s.name);
    if (known !== undefined) return known;
    const derived = graph.derived.find((d) => d.symbol === s);
    if (!derived) {
      throw new UsageError(expected("a value", `symbol ${s.name}`, undefined), {
        code: "SYMBOL_UNBOUND",
        hint: `Pass { ${s.name}: … } with the run.`,
      });
    }
    const borders = deriveBorders(storages.get(derived.source.storage)!, derived.rule);
    values.set(s.name, borders[borders.length - 1]!);
    return borders[borders.length - 1]!;
  };

  for (const [name, value] of graph.bindings) {
    if (value.binding?.kind === "output") continue;
    const data = bindings[name];
    const n = count(shapeOf(value));
    if (!data || data.length !== n) {
      throw new UsageError(expected(`${n} elements`, `binding ${name}`, data?.length), {
        code: "SHAPE_MISMATCH",
        hint: `${value} needs them at these symbol values.`,
      });
    }
    storages.set(value, Float64Array.from(data as ArrayLike<number>, Number));
  }

  const read = (value: Value): ReferenceTensor => {
    const shape = shapeOf(value);
    const storage = storages.get(value.storage)!;
    const data = new Float64Array(count(shape));
    const index = new Array<number>(shape.length).fill(0);
    for (let i = 0; i < data.length; i++) {
      let at = value.offset;
      for (let a = 0; a < shape.length; a++) at += index[a]! * value.strides[a]!;
      data[i] = storage[at]!;
      for (let a = shape.length - 1; a >= 0 && ++index[a]! === shape[a]; a--) index[a] = 0;
    }
    return { shape, data };
  };

  for (const node of graph.nodes) {
    if (node.op.isView) continue;
    const inputs: Record<string, ReferenceTensor | undefined> = {};
    for (const [name, value] of Object.entries(node.inputs)) if (value) inputs[name] = read(value);
    const shapes: Record<string, readonly number[]> = {};
    for (const [name, value] of Object.entries(node.outputs)) shapes[name] = shapeOf(value);
    const outputs = node.op.spec.reference(inputs as Record<string, ReferenceTensor>, node.attributes, shapes);
    for (const [name, value] of Object.entries(node.outputs)) {
      const result = outputs[name];
      if (!result || result.data.length !== count(shapes[name]!)) {
        throw new UsageError(
          expected(`[${shapes[name]}]`, `reference output ${name} of ${node.op.name}`, result?.shape),
          {
            code: "SHAPE_MISMATCH",
          },
        );
      }
      if (value.alias?.kind === "inout") storages.get(value.storage)!.set(result.data);
      else storages.set(value, result.data);
    }
  }

  const result: Interpretation = { outputs: {}, states: {} };
  for (const [name, value] of graph.bindings) {
    if (value.binding?.kind === "output") result.outputs[name] = read(value);
    if (value.binding?.kind === "state") result.states[name] = read(value);
  }
  return result;
}
