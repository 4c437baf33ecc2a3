// What the GPU benchmark measures: one-op programs and whole layers at the sizes of published measurements, bf16.
// `referenceMs` and `floorMs` are the peer's time and the memory floor on the same kind of GPU (bench/notes/README.md).

import { attention, causalConv1d, Graph, selectiveScan, ssdScan } from "../../packages/graph/dist/index.js";
import { layerKinds, Stack } from "../../packages/nn/dist/index.js";

/** A graph with packed sequences of equal length; `tensor` declares random device memory that is not copied per run. */
function packed(name, sequences, length) {
  const graph = new Graph(name);
  const T = graph.symbol("T", sequences * length);
  const S = graph.symbol("S", sequences);
  const cuSeqlens = graph.cuSeqlens("cuSeqlens", S, T);
  const inputs = { cuSeqlens: Int32Array.from({ length: sequences + 1 }, (_, i) => i * length) };
  return { graph, T, S, cuSeqlens, inputs, symbols: { T: sequences * length, S: sequences } };
}

function ssd({ B, L, H }) {
  const [P, N] = [64, 128];
  const p = packed("ssd", B, L);
  const big = (name, shape, dtype = "bf16") => p.graph.parameter(name, dtype, [p.T, ...shape]);
  const { y } = ssdScan(
    {
      x: big("x", [H, P]),
      dt: big("dt", [H]),
      aLog: p.graph.parameter("aLog", "f32", [H]),
      B: big("B", [1, N]),
      C: big("C", [1, N]),
      D: p.graph.parameter("D", "f32", [H, 1]),
      cuSeqlens: p.cuSeqlens,
    },
    { dtSoftplus: false, chunkSize: 128 },
  );
  p.graph.output("y", y);
  return p;
}

function scan({ B, L }) {
  const [C, N] = [2048, 16];
  const p = packed("scan", B, L);
  const big = (name, width) => p.graph.parameter(name, "bf16", [p.T, width]);
  const { y } = selectiveScan({
    x: big("x", C),
    dt: big("dt", C),
    aLog: p.graph.parameter("aLog", "f32", [C, N]),
    B: big("B", N),
    C: big("C", N),
    D: p.graph.parameter("D", "f32", [C]),
    dtBias: p.graph.parameter("dtBias", "f32", [C]),
    z: big("z", C),
    cuSeqlens: p.cuSeqlens,
  });
  p.graph.output("y", y);
  return p;
}

function conv({ L }) {
  const C = 2048;
  const p = packed("conv", 1, L);
  const x = p.graph.parameter("x", "bf16", [p.T, C]);
  const weight = p.graph.parameter("weight", "f32", [C, 4]);
  const bias = p.graph.parameter("bias", "f32", [C]);
  p.graph.output("y", causalConv1d({ x, weight, bias, cuSeqlens: p.cuSeqlens }, { activation: "silu" }).y);
  return p;
}

function window({ L, W }) {
  const [H, D] = [16, 64];
  const p = packed("attention", 1, L);
  const big = (name) => p.graph.parameter(name, "bf16", [p.T, H, D]);
  p.graph.output("y", attention({ q: big("q"), k: big("k"), v: big("v"), cuSeqlens: p.cuSeqlens }, { window: W }).y);
  return p;
}

/** `layers` layers with norms and residuals from [T, width] values. Sessions carry their state. */
function stack({ L, width, layers, letter }) {
  const p = packed("stack", 1, L);
  const built = new Stack({ width, layout: `${letter}x${layers}`, residual: "model", mamba2: { chunkSize: 128 } });
  const { parameters, states } = built.blueprint();
  const tensors = new Map();
  for (const s of parameters) {
    const dtype = s.dtype === "f32" ? "f32" : "bf16";
    tensors.set(s.name, p.graph.parameter(s.name, dtype, s.programShape ?? s.shape));
  }
  for (const s of states)
    tensors.set(s.name, p.graph.state(s.name, s.dtype === "f32" ? "f32" : "bf16", [1, ...s.shape]));
  const context = {
    cuSeqlens: p.cuSeqlens,
    stateIndex: p.graph.slots("stateIndex", p.S, 1),
    position: p.graph.input("position", "i64", [p.S]),
  };
  const x = p.graph.parameter("values", "bf16", [p.T, width]);
  p.graph.output("features", built.forward(p.graph, x, context, tensors, "bf16"));
  Object.assign(p.inputs, { stateIndex: Int32Array.of(0), position: BigInt64Array.of(0n) });
  return p;
}

/** A layer by itself, as published modules are timed: without the norm and the residual that a stack puts around it. */
function layer({ L, width, letter, options = {} }) {
  const p = packed("layer", 1, L);
  const kind = layerKinds.find((k) => k.letter === letter);
  const shell = { width, layerCount: 1 };
  const settings = kind.schema.parse(options);
  const stored = (s) => (s.dtype === "f32" ? "f32" : "bf16");
  const parameters = new Map();
  for (const s of kind.parameters(settings, shell)) {
    parameters.set(s.name, p.graph.parameter(s.name, stored(s), s.programShape ?? s.shape));
  }
  const states = new Map();
  for (const s of kind.states(settings, shell)) states.set(s.name, p.graph.state(s.name, stored(s), [1, ...s.shape]));
  const scope = {
    parameter: (name) => parameters.get(name),
    state: (name) => states.get(name),
    cuSeqlens: p.cuSeqlens,
    stateIndex: p.graph.slots("stateIndex", p.S, 1),
    position: p.graph.input("position", "i64", [p.S]),
    dtype: "bf16",
  };
  const x = p.graph.parameter("values", "bf16", [p.T, width]);
  p.graph.output("y", kind.forward(scope, x, settings, shell));
  Object.assign(p.inputs, { stateIndex: Int32Array.of(0), position: BigInt64Array.of(0n) });
  return p;
}

/** config.json of a 24-layer width-768 language model with its head tied to 50k embeddings, which a greedy generation times. */
const languageModel = (kind) => ({
  model_type: kind,
  hidden_size: 768,
  num_hidden_layers: 24,
  vocab_size: 50280,
  expand: 2,
  conv_kernel: 4,
  tie_word_embeddings: true,
  ...(kind === "mamba"
    ? { state_size: 16, time_step_rank: 48 }
    : { state_size: 128, num_heads: 24, head_dim: 64, n_groups: 1, chunk_size: 128 }),
});

const row = (id, build, size, floorMs, referenceMs) => ({ id, build: () => build(size), floorMs, referenceMs });

export const rows = [
  row("mamba1_scan_fwd/B8_L2048", scan, { B: 8, L: 2048 }, 0.09, 0.634),
  row("mamba1_scan_fwd/B1_L16384", scan, { B: 1, L: 16384 }, 0.09, 0.809),
  row("mamba1_scan_fwd/B1_L65536", scan, { B: 1, L: 65536 }, 0.36, 3.06),
  row("mamba1_scan_fwd/B1_L262144", scan, { B: 1, L: 262144 }, 1.44, 12.2),
  row("ssd_fwd/B8_L2048_H32", ssd, { B: 8, L: 2048, H: 32 }, 0.048, 0.77),
  row("ssd_fwd/B1_L16384_H32", ssd, { B: 1, L: 16384, H: 32 }, 0.048, 1.19),
  row("ssd_fwd/B1_L65536_H32", ssd, { B: 1, L: 65536, H: 32 }, 0.19, 1.89),
  row("ssd_fwd/B1_L262144_H32", ssd, { B: 1, L: 262144, H: 32 }, 0.77, 6.92),
  row("ssd_fwd/B8_L2048_H80", ssd, { B: 8, L: 2048, H: 80 }, 0.116, 1.47),
  row("ssd_fwd/B1_L16384_H80", ssd, { B: 1, L: 16384, H: 80 }, 0.116, 1.52),
  row("ssd_fwd/B1_L65536_H80", ssd, { B: 1, L: 65536, H: 80 }, 0.47, 4.0),
  row("ssd_fwd/B1_L262144_H80", ssd, { B: 1, L: 262144, H: 80 }, 1.86, 15.5),
  row("conv_fwd/L65536_D2048", conv, { L: 65536 }, 0.179, 0.26),
  row("swa_fwd/L16384_W1024", window, { L: 16384, W: 1024 }, 0.045, 0.335),
  row("swa_fwd/L16384_W4096", window, { L: 16384, W: 4096 }, 0.045, 0.873),
  row("swa_fwd/L65536_W1024", window, { L: 65536, W: 1024 }, 0.18, 1.0),
  row("swa_fwd/L65536_W4096", window, { L: 65536, W: 4096 }, 0.18, 2.87),
  row("layer_fwd/mamba1_L131072", layer, { L: 131072, width: 1024, letter: "M1" }, undefined, 9.25),
  row(
    "layer_fwd/mamba2_L131072",
    layer,
    { L: 131072, width: 1024, letter: "M2", options: { chunkSize: 128 } },
    undefined,
    6.85,
  ),
  row("stack_prefill/mamba1_L131072", stack, { L: 131072, width: 768, layers: 24, letter: "M1" }, undefined, 163),
  row("stack_prefill/mamba2_L131072", stack, { L: 131072, width: 768, layers: 24, letter: "M2" }, undefined, 125),
  { id: "step/mamba1", generates: languageModel("mamba"), floorMs: 0.09, referenceMs: 1.41 },
  { id: "step/mamba2", generates: languageModel("mamba2"), floorMs: 0.09, referenceMs: 1.44 },
];
