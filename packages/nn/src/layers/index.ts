import { attention } from "./attention.js";
import type { LayerKind } from "./layer.js";
import { mamba2 } from "./mamba2.js";

/** Every kind of layer a layout may name. A new kind is one file and one line here. */
export const layerKinds: readonly LayerKind[] = [attention, mamba2] as unknown as readonly LayerKind[];

export type { LayerKind, LayerScope, ParameterSpec, Shell, StateSpec } from "./layer.js";
export { defineLayer } from "./layer.js";
