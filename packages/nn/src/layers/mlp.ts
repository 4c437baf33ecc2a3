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
    activation: z.enum(activations).default("gelu"),
    bias: z.boolean().default(false),
  })
  .prefault({});

/** down(f(up(x))). */
export const mlp = defineLayer({
  letter: "F",
  name: "mlp",
  schema,
  check() {},
  parameters(o, { width, layerCount }) {
    const out = kaimingUniform(o.hidden, 1 / Math.sqrt(layerCount));
    return [
      { name: "up.weight", shape: [o.hidden, width], dtype: "weight", init: kaimingUniform(width) },
      ...biases(o.bias, { up: o.hidden }),
      { name: "down.weight", shape: [width, o.hidden], dtype: "weight", init: out },
      ...biases(o.bias, { down: width }),
    ];
  },
  states: () => [],
  forward(scope, x, o) {
    const project = projection(scope, o.bias);
    return project(project(x, "up", o.activation), "down");
  },
});
