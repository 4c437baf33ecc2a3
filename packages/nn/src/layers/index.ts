import { attention } from "./attention.js";
import { gatedMlp } from "./gated-mlp.js";
import type { LayerKind } from "./layer.js";
import { mamba1 } from "./mamba1.js";
import { mamba2 } from "./mamba2.js";
import { mamba3 } from "./mamba3.js";
import { mlp } from "./mlp.js";
import { moe } from "./moe.js";
import { parallel } from "./parallel.js";

// A new kind of layer is one file and one entry here.
const kinds = [attention, mamba1, mamba2, mamba3, gatedMlp, mlp, moe, parallel] as const;
type Kinds = (typeof kinds)[number];

/** Every kind of layer that a layout may name. */
export const layerKinds = kinds as unknown as readonly LayerKind[];

/** A stack's config holds one section per kind of layer, under the kind's name. */
export const layerSections = Object.fromEntries(kinds.map((kind) => [kind.name, kind.schema])) as {
  [K in Kinds as K["name"]]: K["schema"];
};

export type { LayerKind, LayerRouting, LayerScope, ParameterSpec, Shell, StateSpec } from "./layer.js";
export { defineLayer, PAGE_TOKENS, stateDType, stateShape } from "./layer.js";
