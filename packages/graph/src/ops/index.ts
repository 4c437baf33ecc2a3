// Written by scripts/generate-op-index.mjs from the files beside it.
import type { Op } from "../op.js";
import { argMax } from "./arg-max.js";
import { attention } from "./attention.js";
import { binary } from "./binary.js";
import { causalConv1d } from "./causal-conv1d.js";
import { concatenate } from "./concatenate.js";
import { embedding } from "./embedding.js";
import { expertLinear } from "./expert-linear.js";
import { frame } from "./frame.js";
import { gatedRmsNorm } from "./gated-rms-norm.js";
import { layerNorm } from "./layer-norm.js";
import { linear } from "./linear.js";
import { mamba3Scan } from "./mamba3-scan.js";
import { pool } from "./pool.js";
import { powerSpectrum } from "./power-spectrum.js";
import { rmsNorm } from "./rms-norm.js";
import { routeExperts } from "./route-experts.js";
import { selectiveScan } from "./selective-scan.js";
import { ssdScan } from "./ssd-scan.js";
import { unary } from "./unary.js";
import { unfoldPatches } from "./unfold-patches.js";
import { unfoldTime } from "./unfold-time.js";
import { mergeHeads, slice, splitHeads } from "./views.js";

export { argMax } from "./arg-max.js";
export { attention } from "./attention.js";
export { binary } from "./binary.js";
export { causalConv1d } from "./causal-conv1d.js";
export { concatenate } from "./concatenate.js";
export { embedding } from "./embedding.js";
export { expertLinear } from "./expert-linear.js";
export { frame } from "./frame.js";
export { gatedRmsNorm } from "./gated-rms-norm.js";
export { layerNorm } from "./layer-norm.js";
export { linear } from "./linear.js";
export { mamba3Scan } from "./mamba3-scan.js";
export { pool } from "./pool.js";
export { powerSpectrum } from "./power-spectrum.js";
export { rmsNorm } from "./rms-norm.js";
export { routeExperts } from "./route-experts.js";
export { selectiveScan } from "./selective-scan.js";
export { ssdScan } from "./ssd-scan.js";
export { unary } from "./unary.js";
export { unfoldPatches } from "./unfold-patches.js";
export { unfoldTime } from "./unfold-time.js";
export { mergeHeads, slice, splitHeads } from "./views.js";

/** Every op, sorted by name: what the generators and the conformance tests walk. */
export const allOps: readonly Op[] = [
  argMax.op,
  attention.op,
  binary.op,
  causalConv1d.op,
  concatenate.op,
  embedding.op,
  expertLinear.op,
  frame.op,
  gatedRmsNorm.op,
  layerNorm.op,
  linear.op,
  mamba3Scan.op,
  mergeHeads.op,
  pool.op,
  powerSpectrum.op,
  rmsNorm.op,
  routeExperts.op,
  selectiveScan.op,
  slice.op,
  splitHeads.op,
  ssdScan.op,
  unary.op,
  unfoldPatches.op,
  unfoldTime.op,
];
