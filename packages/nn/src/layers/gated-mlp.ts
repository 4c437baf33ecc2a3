import { binary, split, unary } from "@krait/graph";
import { z } from "zod";
import { kaimingUniform } from "../init.js";
import { defineLayer } from "./layer.js";
import { activations, biases, projection } from "./projection.js";

const schema = z
  .strictObject({
    hidden: z
      .int()
      .positive()
      .max(1 << 20)
      .default(1024),
    activation: z.enum(activations).default("silu"),
    bias: z.boolean().default(false),
  })
  .prefault({});

/** down(f(gate(x)) · up(x)), Shazeer 2020; `gate_up` holds the rows of the gate, then those of up. */
export const gatedMlp = defineLayer({
  letter: "G",
  name: "gatedMlp",
  schema,
  check() {},
  parameters(o, { width, layerCount }) {
    const out = kaimingUniform(o.hidden, 1 / Math.sqrt(layerCount));
    return [
      { name: "gate_up.weight", shape: [2 * o.hidden, width], dtype: "weight", init: kaimingUniform(width) },
      ...biases(o.bias, { gate_up: 2 * o.hidden }),
      { name: "down.weight", shape: [width, o.hidden], dtype: "weight", init: out },
      ...biases(o.bias, { down: width }),
    ];
  },
  states: () => [],
  forward(scope, x, o) {
    const project = projection(scope, o.bias);
    const [gate, up] = split(project(x, "gate_up"), [o.hidden, o.hidden]); // [T, hidden] each
    const open = unary({ x: gate! }, { kind: o.activation }).y;
    return project(binary({ a: open, b: up! }, { kind: "mul" }).y, "down");
  },
});
