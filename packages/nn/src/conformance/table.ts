import type { StackOptions } from "../index.js";

/** A layout, or a stack's own options beside the common ones. */
export type LawStack = string | (StackOptions & { layout: string });

export const LAW_WIDTH = 64;

const heads = { heads: 4, keyHeads: 2, window: 9, sinks: 2 };
const mamba1 = { stateSize: 12 };
const mamba2 = { stateSize: 16, headDim: 16, groups: 2, chunkSize: 8 };
const mamba3 = { stateSize: 12, headDim: 16, groups: 2, outNorm: true };
const shared = { backward: "shared", combine: "mean" } as const;

/** Stacks that the laws are held to: every kind of layer, in every direction and pattern that it knows. */
export const lawLayouts = {
  "mamba-1": "M1x3",
  "mamba-1 with norms and biases": { layout: "M1x2", mamba1: { stateSize: 8, selectionNorms: true, bias: true } },
  "mamba-2": "M2x3",
  "mamba-2, norm before the gate": {
    layout: "M2x2",
    mamba2: { ...mamba2, innerWidth: 96, normBeforeGate: true, normGroups: 1, channelD: true },
  },
  "mamba-3": "M3x3",
  reversed: "M1r M2r M3r",
  bidirectional: "M1b M2b M3b",
  "bidirectional, shared": {
    layout: "M1b M2b M3b",
    mamba1: { ...mamba1, ...shared },
    mamba2: { ...mamba2, ...shared },
    mamba3: { ...mamba3, ...shared },
  },
  "both ways in turn": "(M2 M2r)x2 A M1b",
  attention: "Ax3",
  "attention with a convolution": { layout: "A A", attention: { ...heads, convWidth: 4, bias: true, scale: 0.3 } },
  "full attention": { layout: "A M2 A", attention: { heads: 4, keyHeads: 2, window: "full" } },
  "global tokens": { layout: "A M2 A", attention: { ...heads, globalTokens: 6 } },
  "full attention both ways": { layout: "Ab M2b", attention: { heads: 4, keyHeads: 1, window: "full" } },
  "window both ways": { layout: "Ab Ab", attention: { ...heads, windowAhead: 3, rotaryFraction: 0.5 } },
  "global tokens both ways": { layout: "Ab Ab", attention: { ...heads, globalTokens: 6 } },
  hybrid: "(M2 A)x2 M2",
  "gated MLP": "G G",
  MLP: { layout: "F F", mlp: { hidden: 96, bias: true } },
  "mixture of experts": "M2 E E",
  "routing in groups": {
    layout: "E",
    moe: {
      experts: 8,
      topK: 3,
      hidden: 20,
      groups: 4,
      keptGroups: 2,
      scoring: "sigmoid",
      normalize: true,
      correction: true,
      sharedHidden: 24,
      sharedBias: true,
      gated: false,
      activation: "relu2",
    },
  },
  parallel: "Hx2",
  "parallel with global tokens": {
    layout: "H",
    parallel: { mamba: { ...mamba2, norm: "none" }, attention: { ...heads, globalTokens: 6 } },
  },
} as const satisfies Record<string, LawStack>;

/** Small sizes that are no multiple of each other, so that chunks, windows and rings end in all places. */
export const lawStack = (stack: LawStack): StackOptions => ({
  width: LAW_WIDTH,
  mamba1,
  mamba2,
  mamba3,
  attention: heads,
  gatedMlp: { hidden: 96 },
  mlp: { hidden: 96 },
  // Experts that weigh enough for a wrong one to show.
  moe: { experts: 6, topK: 2, hidden: 32, normalize: true, scale: 2.5 },
  parallel: { mamba: { stateSize: 16, headDim: 16, chunkSize: 8 }, attention: heads },
  ...(typeof stack === "string" ? { layout: stack } : stack),
});
