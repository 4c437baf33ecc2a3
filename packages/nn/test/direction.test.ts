import { Graph, interpret, type Value, verify } from "@krait/graph";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Stack, StackModel, seededWeights } from "../src/index.js";
import { seededRandom } from "../src/init.js";
import { backwardName } from "../src/layers/direction.js";
import type { LayerKind } from "../src/layers/layer.js";
import { mamba1 } from "../src/layers/mamba1.js";
import { mamba2 } from "../src/layers/mamba2.js";
import { mamba3 } from "../src/layers/mamba3.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const WIDTH = 20;
const LENGTHS = [1, 2, 0, 3, 127, 129];
const TOKENS = LENGTHS.reduce((a, b) => a + b, 0);
const shell = { width: WIDTH, layerCount: 2 };

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(() => device.close());

/** One layer over a pack of odd lengths, with weights by name. */
function layer(kind: LayerKind, options: Record<string, unknown>, rename = (name: string) => name) {
  const parsed = kind.schema.parse(options);
  kind.check(parsed, shell);
  const graph = new Graph(kind.name);
  const T = graph.symbol("T", TOKENS);
  const S = graph.symbol("S", LENGTHS.length);
  const weights: Record<string, Float32Array> = {};
  const values = new Map<string, Value>();
  for (const spec of kind.parameters(parsed, shell)) {
    const data = new Float32Array(spec.shape.reduce((a, b) => a * b, 1));
    spec.init(data, seededRandom(seed, rename(spec.name)));
    // Initial vectors of ones and ramps would hide a way back that reads the other way's.
    const noise = seededRandom(seed + 1, rename(spec.name));
    weights[spec.name] = data.map((v) => v + 0.2 * (noise() - 0.5));
    values.set(spec.name, graph.parameter(spec.name, "f32", spec.programShape ?? spec.shape));
  }
  for (const spec of kind.states(parsed, shell)) {
    weights[spec.name] = new Float32Array(spec.shape.reduce((a, b) => a * b, 1));
    values.set(spec.name, graph.state(spec.name, "f32", [1, ...spec.shape]));
  }
  const named = (name: string) => values.get(name)!;
  const context = {
    cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
    stateIndex: graph.slots("stateIndex", S, 1),
    position: graph.input("position", "i64", [S]),
  };
  const x = graph.input("x", "f32", [T, WIDTH]);
  const y = kind.forward({ parameter: named, state: named, ...context, dtype: "f32" }, x, parsed, shell);
  graph.output("y", y);
  verify(graph);
  const symbols = { T: TOKENS, S: LENGTHS.length };
  const cuSeqlens = new Int32Array(LENGTHS.length + 1);
  LENGTHS.forEach((n, i) => {
    cuSeqlens[i + 1] = cuSeqlens[i]! + n;
  });
  const stateIndex = new Int32Array(LENGTHS.length).fill(-1);
  return {
    states: kind.states(parsed, shell).length,
    isCausal: kind.isCausal!(parsed),
    float64(x: Float32Array): Float64Array {
      const position = new Float64Array(LENGTHS.length);
      return interpret(graph, symbols, { ...weights, x, cuSeqlens, stateIndex, position }).outputs.y!.data;
    },
    async cpu(x: Float32Array): Promise<Float32Array> {
      const buffers: Record<string, Awaited<ReturnType<Device["upload"]>>> = {};
      for (const [name, data] of Object.entries(weights)) buffers[name] = await device.upload(data);
      const program = await device.load(graph, { buffers });
      const position = new BigInt64Array(LENGTHS.length);
      const { y } = await program.run({ symbols, inputs: { x, cuSeqlens, stateIndex, position } });
      program.close();
      for (const buffer of Object.values(buffers)) buffer.close();
      return y as Float32Array;
    },
  };
}

/** Each sequence's rows in the opposite order. */
function flipped<A extends Float32Array | Float64Array>(rows: A): A {
  const out = rows.slice() as A;
  let from = 0;
  for (const length of LENGTHS) {
    for (let t = 0; t < length; t++) {
      out.set(rows.subarray((from + t) * WIDTH, (from + t + 1) * WIDTH), (from + length - 1 - t) * WIDTH);
    }
    from += length;
  }
  return out;
}

const values = () => Float32Array.from({ length: TOKENS * WIDTH }, () => 2 * random() - 1);
const plus = (a: Float64Array, b: Float64Array, scale = 1) => a.map((v, i) => scale * (v + b[i]!));

// Without a norm behind the join, both ways' outputs are added by the output projection too.
const mixers: [LayerKind, Record<string, unknown>][] = [
  [mamba1, { stateSize: 5 }],
  [mamba2, { stateSize: 6, headDim: 8, groups: 5, chunkSize: 8, norm: "none" }],
  [mamba3, { stateSize: 8, headDim: 8, groups: 5 }],
];

describe.each(mixers)(`$name, seed ${seed}`, (kind, options) => {
  test("reversed is a causal layer on flipped sequences", async () => {
    const x = values();
    const reversed = layer(kind, { ...options, direction: "reversed" });
    expect([reversed.states, reversed.isCausal]).toEqual([0, false]);
    const want = flipped(layer(kind, options).float64(flipped(x)));
    expect(relativeRms(reversed.float64(x), want)).toBeLessThan(1e-14);
    expect(relativeRms(await reversed.cpu(x), want)).toBeLessThan(1e-5);
  });

  test.each([
    ["separate", "sum", backwardName],
    ["separate", "mean", backwardName],
    ["shared", "sum", undefined],
  ] as const)("bidirectional, %s, %s: both ways of causal layers together", async (backward, combine, rename) => {
    const x = values();
    const both = layer(kind, { ...options, direction: "bidirectional", backward, combine });
    expect([both.states, both.isCausal]).toEqual([0, false]);
    const shared = ["in_proj.weight", "out_proj.weight", "B_norm.weight", "C_norm.weight"];
    const back = layer(kind, options, (name) => (rename && !shared.includes(name) ? rename(name) : name));
    const want = plus(layer(kind, options).float64(x), flipped(back.float64(flipped(x))), combine === "mean" ? 0.5 : 1);
    expect(relativeRms(both.float64(x), want)).toBeLessThan(1e-14);
    expect(relativeRms(await both.cpu(x), want)).toBeLessThan(1e-5);
  });
});

test.each([
  [mamba1, { stateSize: 5, backward: "decay", selectionNorms: true, bias: true }],
  [mamba2, { stateSize: 6, headDim: 8, groups: 5, chunkSize: 8, combine: "mean", channelD: true }],
  [mamba3, { stateSize: 8, headDim: 8, groups: 5, outNorm: true, bias: true }],
] as [LayerKind, Record<string, unknown>][])(
  `$name with its norms on the CPU equals float64, seed ${seed}`,
  async (kind, options) => {
    const x = values();
    const both = layer(kind, { ...options, direction: "bidirectional" });
    expect(relativeRms(await both.cpu(x), both.float64(x))).toBeLessThan(1e-5);
  },
);

test("a stack that looks ahead opens no session, and says which layer", async () => {
  const options = { width: 32, layout: "M2 M2r", mamba2: { stateSize: 8, headDim: 16, chunkSize: 8 } };
  const model = await StackModel.create(device, options, seededWeights(1), { maxTokens: 64 });
  expect(model.stack.isCausal).toBe(false);
  await expect(model.open()).rejects.toMatchObject({
    code: "NOT_CAUSAL",
    message: expect.stringMatching(/layer 1.*reversed/),
  });
  const x = Float32Array.from({ length: 9 * 32 }, () => random());
  expect((await model.run(x)).every(Number.isFinite)).toBe(true);
  model.close();
});

test("marks of a layout set the direction, a section the direction of unmarked letters", () => {
  const directions = (options: ConstructorParameters<typeof Stack>[0]) =>
    new Stack({ width: 128, ...options }).layers.map(({ kind, options }) => [
      kind.letter,
      (options as { direction?: string }).direction,
    ]);
  expect(directions({ layout: "(M1 M1r)x2 M3b A" })).toEqual([
    ["M1", "causal"],
    ["M1", "reversed"],
    ["M1", "causal"],
    ["M1", "reversed"],
    ["M3", "bidirectional"],
    ["A", "causal"],
  ]);
  expect(directions({ layout: "M2x2 M2r", mamba2: { direction: "bidirectional" } })).toEqual([
    ["M2", "bidirectional"],
    ["M2", "bidirectional"],
    ["M2", "reversed"],
  ]);
  expect(new Stack({ width: 128, layout: "H", parallel: { mamba: { direction: "reversed" } } }).isCausal).toBe(false);
  for (const layout of ["Ar", "M2q", "M2rb", "Gr"]) {
    expect(() => new Stack({ layout })).toThrow(expect.objectContaining({ code: "INVALID_LAYOUT" }));
  }
  expect(() => new Stack({ mamba2: { direction: "backward" as "causal" } })).toThrow(
    expect.objectContaining({ code: "INVALID_OPTION" }),
  );
});
