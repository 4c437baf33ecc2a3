import { binary } from "@krait/graph";
import { z } from "zod";
import { attention } from "./attention.js";
import { defineLayer, type LayerScope } from "./layer.js";
import { mamba2 } from "./mamba2.js";

const schema = z.strictObject({ mamba: mamba2.schema, attention: attention.schema }).prefault({});

const inside = (scope: LayerScope, part: string): LayerScope => ({
  ...scope,
  parameter: (name) => scope.parameter(`${part}.${name}`),
  state: (name) => scope.state(`${part}.${name}`),
});

/** Mamba-2 and attention side by side on the same input, their outputs added: the hybrid head of Falcon-H1 (arXiv 2507.22448). */
export const parallel = defineLayer({
  letter: "H",
  name: "parallel",
  schema,
  check(o, shell) {
    mamba2.check(o.mamba, shell);
    attention.check(o.attention, shell);
  },
  parameters: (o, shell) => [
    ...mamba2.parameters(o.mamba, shell).map((p) => ({ ...p, name: `mamba.${p.name}` })),
    ...attention.parameters(o.attention, shell).map((p) => ({ ...p, name: `attention.${p.name}` })),
  ],
  states: (o, shell) => [
    ...mamba2.states(o.mamba, shell).map((s) => ({ ...s, name: `mamba.${s.name}` })),
    ...attention.states(o.attention, shell).map((s) => ({ ...s, name: `attention.${s.name}` })),
  ],
  isCausal: (o) => mamba2.isCausal!(o.mamba) && attention.isCausal!(o.attention),
  globalTokens: (o) => attention.globalTokens!(o.attention),
  forward(scope, x, o, shell) {
    const a = mamba2.forward(inside(scope, "mamba"), x, o.mamba, shell);
    const b = attention.forward(inside(scope, "attention"), x, o.attention, shell);
    return binary({ a, b }, { kind: "add" }).y;
  },
});
