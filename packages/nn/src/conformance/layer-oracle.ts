import { Graph, interpret, type Value, verify } from "@krait/graph";
import type { Device } from "@krait/runtime";
import { type Built, generator, relativeRms, round, runOnDevice } from "@krait/runtime/conformance";
import { seededRandom } from "../init.js";
import { type LayerKind, stateDType, stateShape } from "../layers/index.js";
import { borders } from "../model.js";
import { Stack, type StackOptions } from "../stack.js";

/** Sequences of one pack: their tokens, their slots (−1 carries nothing), in two runs, the second in another order. */
const rounds = [
  { lengths: [1, 37, 0, 129, 2], slots: [2, 0, 3, 1, -1] },
  { lengths: [63, 3, 1, 20], slots: [1, -1, 3, 0] },
] as const;
const SLOTS = 4;
const CONTEXT = 256;

/**
 * The largest relative RMS between one of the stack's layers by itself, without norm and residual, and its program in float64: packed, with
 * what it carries, from memory of NaNs. Infinite where a kernel writes beyond an end.
 */
export async function checkLayers(device: Device, options: StackOptions, dtype: "f32" | "bf16", seed: number) {
  const { layers, width } = new Stack(options);
  const distinct = new Map(layers.map((layer) => [layer.kind.letter + JSON.stringify(layer.options), layer]));
  let worst = 0;
  for (const { kind, options } of distinct.values()) {
    const one = buildLayer(kind, options, { width, layerCount: layers.length }, dtype, seed);
    worst = Math.max(worst, await checkLayer(device, one, seed));
  }
  return worst;
}

interface Layer {
  graph: Graph;
  width: number;
  dtype: "f32" | "bf16";
  carries: boolean;
  globalTokens: number;
  /** Parameters and states. */
  data: Record<string, Float64Array>;
  dtypes: Built["dtypes"];
}

function buildLayer(
  kind: LayerKind,
  options: unknown,
  shell: { width: number; layerCount: number },
  dtype: "f32" | "bf16",
  seed: number,
): Layer {
  const graph = new Graph(kind.name);
  const T = graph.symbol("T", 200);
  const S = graph.symbol("S", 5);
  const data: Layer["data"] = {};
  const dtypes: Layer["dtypes"] = { x: dtype, cuSeqlens: "i32", stateIndex: "i32", position: "i64" };
  const values = new Map<string, Value>();
  for (const spec of kind.parameters(options, shell)) {
    const fresh = new Float32Array(spec.shape.reduce((a, b) => a * b, 1));
    spec.init(fresh, seededRandom(seed, spec.name));
    // Initial zeros, ones and ramps would hide a tensor that is left out, or read in another's place.
    const noise = seededRandom(seed + 1, spec.name);
    const stored = spec.dtype === "f32" ? "f32" : dtype;
    data[spec.name] = Float64Array.from(fresh, (v) => round(stored, v + 0.2 * (noise() - 0.5)));
    dtypes[spec.name] = stored;
    values.set(spec.name, graph.parameter(spec.name, stored, spec.programShape ?? spec.shape));
  }
  const states = kind.states(options, shell);
  for (const spec of states) {
    const shape = [SLOTS, ...stateShape(spec, CONTEXT)];
    data[spec.name] = new Float64Array(shape.reduce((a, b) => a * b, 1));
    dtypes[spec.name] = stateDType(spec, dtype);
    values.set(spec.name, graph.state(spec.name, dtypes[spec.name]!, shape));
  }
  const globalTokens = kind.globalTokens?.(options) ?? 0;
  const G = globalTokens > 0 ? graph.symbol("G", 32) : undefined;
  if (G) Object.assign(dtypes, { globals: "i32", globalBorders: "i32" });
  const scope = {
    parameter: (name: string) => values.get(name)!,
    state: (name: string) => values.get(name)!,
    cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
    stateIndex: graph.slots("stateIndex", S, SLOTS),
    position: graph.input("position", "i64", [S]),
    ...(G && {
      globals: { tokens: graph.indices("globals", G, 0, T), borders: graph.cuSeqlens("globalBorders", S, G) },
    }),
    dtype,
  };
  const x = graph.input("x", dtype, [T, shell.width]);
  graph.output("y", kind.forward(scope, x, options, shell));
  verify(graph);
  return { graph, width: shell.width, dtype, carries: states.length > 0, globalTokens, data, dtypes };
}

async function checkLayer(device: Device, layer: Layer, seed: number): Promise<number> {
  const random = generator(seed);
  const seen = new Array<number>(SLOTS).fill(0);
  let carried = layer.data;
  let worst = 0;
  for (const { lengths, slots } of layer.carries ? rounds : rounds.slice(0, 1)) {
    const cuSeqlens = borders(lengths);
    // At most two of each sequence's tokens in one run.
    const globals = lengths.map((n) => (layer.globalTokens > 0 ? [...new Set([0, n >> 1])].filter((g) => g < n) : []));
    const bindings = {
      x: Float64Array.from({ length: cuSeqlens.at(-1)! * layer.width }, () => round(layer.dtype, 2 * random() - 1)),
      cuSeqlens: Float64Array.from(cuSeqlens),
      stateIndex: Float64Array.from(slots),
      position: Float64Array.from(slots, (slot) => (slot < 0 ? 0 : seen[slot]!)),
      globals: Float64Array.from(globals.flatMap((places, s) => places.map((g) => cuSeqlens[s]! + g))),
      globalBorders: Float64Array.from(borders(globals.map((places) => places.length))),
    };
    const given = Object.entries(bindings).filter(([name]) => layer.graph.bindings.has(name));
    const symbols = {
      T: cuSeqlens.at(-1)!,
      S: lengths.length,
      ...(layer.globalTokens > 0 && { G: globals.flat().length }),
    };
    const data = { ...carried, ...Object.fromEntries(given) };
    const want = interpret(layer.graph, symbols, data);
    const got = await runOnDevice(device, { graph: layer.graph, symbols, data, dtypes: layer.dtypes });
    if (got.breach) return Number.POSITIVE_INFINITY;
    worst = Math.max(worst, relativeRms(got.outputs.y!, want.outputs.y!.data));
    for (const [name, { data: state }] of Object.entries(want.states)) {
      const error = relativeRms(got.states[name]!, state);
      worst = Math.max(worst, layer.dtypes[name] === "i64" && error > 0 ? Number.POSITIVE_INFINITY : error);
    }
    // The next run is held to what this one left, so that each is judged by itself.
    carried = got.states;
    slots.forEach((slot, s) => {
      if (slot >= 0) seen[slot]! += lengths[s]!;
    });
  }
  return worst;
}
