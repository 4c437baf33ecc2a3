// Writes valid programs to a folder, for the C++ tests to run and to damage.
//   node kernels/test/write-programs.mjs <folder>
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  attention,
  binary,
  causalConv1d,
  concatenate,
  copy,
  deriveBorders,
  embedding,
  encode,
  frame,
  Graph,
  gatedRmsNorm,
  kernelOps,
  linear,
  mergeHeads,
  plan,
  pool,
  rmsNorm,
  split,
  splitHeads,
  ssdScan,
  unary,
  unfoldPatches,
  verify,
} from "../../packages/graph/dist/index.js";

/** A Mamba-2 layer between an embedding and a head, with carried state. */
function mamba() {
  const g = new Graph("mamba");
  const [T, S] = [g.symbol("T", 40), g.symbol("S", 4)];
  const [width, heads, headDim, stateSize, slots] = [24, 3, 8, 5, 6];
  const inner = heads * headDim;
  const borders = g.cuSeqlens("cuSeqlens", S, T);
  const slot = g.slots("slot", S, slots);
  const tokens = g.indices("ids", T, 0, 50);
  const x = embedding({ table: g.parameter("table", "f32", [50, width]), ids: tokens }).y;
  const normed = rmsNorm({ x, weight: g.parameter("norm", "f32", [width]) }).y;
  const channels = inner + 2 * stateSize;
  const projected = linear({ x: normed, weight: g.parameter("in", "f32", [inner + channels + heads, width]) }).y;
  const [gate, conv, dt] = split(projected, [inner, channels, heads]);
  const mixed = causalConv1d(
    {
      x: conv,
      weight: g.parameter("convWeight", "f32", [channels, 4]),
      bias: g.parameter("convBias", "f32", [channels]),
      cuSeqlens: borders,
      state: g.state("tail", "f32", [slots, 3, channels]),
      stateIndex: slot,
    },
    { activation: "silu" },
  ).y;
  const [values, B, C] = split(mixed, [inner, stateSize, stateSize]);
  const scanned = ssdScan(
    {
      x: splitHeads({ x: values }, { heads }).y,
      dt,
      aLog: g.parameter("aLog", "f32", [heads]),
      B: splitHeads({ x: B }, { heads: 1 }).y,
      C: splitHeads({ x: C }, { heads: 1 }).y,
      D: g.parameter("D", "f32", [heads, 1]),
      dtBias: g.parameter("dtBias", "f32", [heads]),
      cuSeqlens: borders,
      state: g.state("ssm", "f32", [slots, heads, headDim, stateSize]),
      stateIndex: slot,
    },
    { chunkSize: 16 },
  ).y;
  const gated = gatedRmsNorm(
    { x: mergeHeads({ x: scanned }).y, gate, weight: g.parameter("gatedNorm", "f32", [inner]) },
    { groups: 3 },
  ).y;
  const out = linear({ x: gated, weight: g.parameter("out", "f32", [width, inner]) }).y;
  const last = rmsNorm({ x: out, weight: g.parameter("lastNorm", "f32", [width]), residual: x });
  g.output("y", last.y);
  g.output("sum", last.sum);
  return g;
}

/** Attention with a ring of earlier keys, and one number per sequence. */
function attend() {
  const g = new Graph("attend");
  const [T, S] = [g.symbol("T", 30), g.symbol("S", 3)];
  const [heads, keyHeads, headDim, ring, slots] = [4, 2, 8, 12, 5];
  const borders = g.cuSeqlens("cuSeqlens", S, T);
  const x = g.input("x", "f32", [T, 16]);
  const weight = g.parameter("weight", "f32", [(heads + 2 * keyHeads) * headDim, 16]);
  const [q, k, v] = split(linear({ x, weight, bias: g.parameter("bias", "f32", [64]) }).y, [32, 16, 16]);
  const y = attention(
    {
      q: splitHeads({ x: q }, { heads }).y,
      k: splitHeads({ x: k }, { heads: keyHeads }).y,
      v: splitHeads({ x: v }, { heads: keyHeads }).y,
      cuSeqlens: borders,
      position: g.input("position", "i64", [S]),
      keys: g.state("keys", "f32", [slots, ring, keyHeads, headDim]),
      values: g.state("values", "f32", [slots, ring, keyHeads, headDim]),
      stateIndex: g.slots("slot", S, slots),
    },
    { window: 9, sinks: 2, rotaryDims: 8 },
  ).y;
  g.output("y", pool({ x: mergeHeads({ x: y }).y, cuSeqlens: borders }, { kind: "mean" }).y);
  return g;
}

/** Log energies of frames, as an audio front end has them. */
function listen() {
  const g = new Graph("listen");
  const [T, S] = [g.symbol("T", 500), g.symbol("S", 3)];
  const framed = frame(
    { x: g.input("x", "f32", [T]), cuSeqlens: g.cuSeqlens("cuSeqlens", S, T) },
    { size: 50, hop: 20 },
  );
  const windowed = binary({ a: framed.y, b: g.parameter("window", "f32", [1, 50]) }, { kind: "mul" }).y;
  const bins = linear({ x: windowed, weight: g.parameter("bins", "f32", [12, 50]) }).y;
  const power = unary({ x: bins }, { kind: "square" }).y;
  const log = unary({ x: power }, { kind: "log", low: 1e-10, scale: 0.25, shift: 1 }).y;
  g.output("y", log);
  g.output("loudest", pool({ x: log, cuSeqlens: framed.cuSeqlens }, { kind: "max" }).y);
  return g;
}

/** Patches of frames after a learned row, as a video front end has them. */
function look() {
  const g = new Graph("look");
  const V = g.symbol("V", 3);
  const constant = (name, value) => g.parameter(name, "f32", value);
  const patches = unfoldPatches(
    { frames: g.input("frames", "u8", [V, 2, 8, 12, 3]), scale: constant("scale", [3]), shift: constant("shift", [3]) },
    { patch: 4 },
  ).y;
  const embedded = linear(
    { x: patches, weight: g.parameter("weight", "f32", [10, 96]), bias: g.parameter("bias", "f32", [10]) },
    { activation: "gelu" },
  ).y;
  const first = copy(g.parameter("first", "f32", [1, 10]));
  const rows = concatenate({ a: first, b: embedded }, { axis: 0 }).y;
  g.output("y", concatenate({ a: rows, b: rows }, { axis: 1 }).y);
  return g;
}

/** The value of a symbol in a full run: its capacity, or what follows from the borders that program_test.cpp makes. */
function runValue(graph, symbol) {
  const derived = graph.derived.find((d) => d.symbol === symbol);
  if (!derived) return symbol.capacity;
  const count = derived.source.shape[0].capacity;
  const total = graph.totalOf(derived.source).capacity;
  const borders = Array.from({ length: count }, (_, i) => (i + 1 === count ? total : Math.floor((i * total) / count)));
  return deriveBorders(borders, derived.rule).at(-1);
}

const folder = resolve(process.argv[2] ?? "build/programs");
mkdirSync(folder, { recursive: true });
const used = new Set();
for (const graph of [mamba(), attend(), listen(), look()]) {
  verify(graph);
  for (const node of graph.nodes) used.add(node.op.name);
  const { bytes, symbols } = encode(plan(graph));
  writeFileSync(join(folder, `${graph.name}.program`), Buffer.from(bytes));
  writeFileSync(join(folder, `${graph.name}.symbols`), symbols.map((s) => runValue(graph, s)).join(" "));
}
const missing = kernelOps.map((op) => op.name).filter((name) => !used.has(name));
if (missing.length > 0) console.warn(`No program here uses ${missing.join(", ")}: add one to damage them too.`);
