import { type DType, newTypedArray, type TypedArray, UsageError } from "@krait/core";
import { type Attributes, Graph, kernelOps, unaryKinds } from "@krait/graph";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Device, openDevice } from "../src/index.js";
import { differingBits, generator, seed, uniform } from "./stream-op.js";

interface Input {
  shape: number[];
  data: TypedArray;
  dtype?: DType;
}

/** Runs one op on constant shapes and gives its output y. */
async function runOp(device: Device, name: string, attributes: Attributes, given: Record<string, Input>) {
  const graph = new Graph(name);
  const inputs = Object.fromEntries(
    Object.entries(given).map(([key, { shape, data, dtype = "f32" }]) => [
      key,
      key === "cuSeqlens" ? graph.cuSeqlens(key, shape[0]! - 1, Number(data.at(-1))) : graph.input(key, dtype, shape),
    ]),
  );
  graph.output("out", graph.call(kernelOps.find((o) => o.name === name)!, inputs, attributes).y!);
  const program = await device.load(graph);
  try {
    const arrays = Object.fromEntries(Object.entries(given).map(([key, { data }]) => [key, data]));
    return (await program.run({ symbols: {}, inputs: arrays })).out as Float32Array;
  } finally {
    program.close();
  }
}

const rows = (data: Float32Array, width: number, from: number, to = from + 1) => data.slice(from * width, to * width);
const borders = (...at: number[]): Input => ({ shape: [at.length], data: Int32Array.from(at), dtype: "i32" });

describe(`row by row, seed ${seed}`, () => {
  const next = generator(seed);
  let device: Device;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu", threads: 3 });
  });
  afterAll(() => device.close());

  const [T, D] = [901, 37];
  const x = uniform(next, T * D, -4, 4);
  const gate = uniform(next, T * D, -4, 4);
  const weight: Input = { shape: [D], data: uniform(next, D) };
  const matrix = (data: Float32Array): Input => ({ shape: [data.length / D, D], data });

  const perRow: [string, Attributes, (from: number, to: number) => Record<string, Input>][] = [
    ...unaryKinds.map((kind): (typeof perRow)[number] => [
      "unary",
      { kind },
      (from, to) => ({ x: matrix(rows(x, D, from, to)) }),
    ]),
    ["rms_norm", {}, (from, to) => ({ x: matrix(rows(x, D, from, to)), weight })],
    [
      "gated_rms_norm",
      {},
      (from, to) => ({ x: matrix(rows(x, D, from, to)), gate: matrix(rows(gate, D, from, to)), weight }),
    ],
  ];
  test.each(perRow)("%s %o gives a row the same bits alone as among others", async (op, attributes, inputs) => {
    const whole = await runOp(device, op, attributes, inputs(0, T));
    for (const t of [0, 1, 443, 444, T - 1]) {
      const alone = await runOp(device, op, attributes, inputs(t, t + 1));
      expect(differingBits(alone, rows(whole, D, t)), `row ${t}`).toBe(0);
    }
  });

  test.each(["mean", "sum", "max"])("pool %s gives a segment the same bits alone as in a pack", async (kind) => {
    const cuts = [0, 300, 300, 301, 880, T];
    const whole = await runOp(device, "pool", { kind }, { x: matrix(x), cuSeqlens: borders(...cuts) });
    for (let s = 0; s + 1 < cuts.length; s++) {
      const segment = rows(x, D, cuts[s]!, cuts[s + 1]);
      const alone = await runOp(
        device,
        "pool",
        { kind },
        { x: matrix(segment), cuSeqlens: borders(0, segment.length / D) },
      );
      expect(differingBits(alone, rows(whole, D, s)), `segment ${s}`).toBe(0);
    }
  });

  test.each([1, 4, 32, 33, 300])("linear on %i rows gives the same bits every time", async (m) => {
    const inputs = {
      x: { shape: [m, 203], data: uniform(next, m * 203) },
      weight: { shape: [301, 203], data: uniform(next, 301 * 203) },
    };
    const first = await runOp(device, "linear", { activation: "gelu" }, inputs);
    for (let i = 0; i < 5; i++) {
      expect(differingBits(await runOp(device, "linear", { activation: "gelu" }, inputs), first)).toBe(0);
    }
  });

  test("a NaN stays one through every function, in every lane", async () => {
    const data = new Float32Array(35).fill(1);
    for (const at of [0, 7, 16, 34]) data[at] = Number.NaN;
    const expectedNaNs = Array.from(data, Number.isNaN);
    for (const kind of unaryKinds) {
      const y = await runOp(device, "unary", { kind }, { x: { shape: [1, 35], data } });
      expect(Array.from(y, Number.isNaN), kind).toEqual(expectedNaNs);
    }
  });

  test("functions reach their limits without overflow on the way", async () => {
    const data = Float32Array.from([-1e30, -200, -90, 90, 200, 1e30]);
    const run = async (kind: string) =>
      Array.from(await runOp(device, "unary", { kind }, { x: { shape: [1, data.length], data } }));
    const right = Array.from(data.subarray(3));
    for (const kind of ["silu", "gelu", "gelu_tanh", "softplus", "relu"]) {
      const y = await run(kind);
      expect(y.slice(3), kind).toEqual(right);
      for (const v of y.slice(0, 3)) expect(Math.abs(v), kind).toBeLessThan(1e-30);
    }
    expect(await run("tanh")).toEqual([-1, -1, -1, 1, 1, 1]);
    expect(await run("sigmoid")).toEqual([0, 0, expect.closeTo(0, 30), 1, 1, 1]);
    expect((await run("exp")).slice(3)).toEqual([Infinity, Infinity, Infinity]);
    const log = await runOp(
      device,
      "unary",
      { kind: "log" },
      {
        x: { shape: [1, 3], data: Float32Array.from([0, -1, Infinity]) },
      },
    );
    expect(Array.from(log)).toEqual([-Infinity, Number.NaN, Infinity]);
  });

  test.each([-1, 5, 2 ** 31 - 1])("embedding refuses the id %i that no border has checked", async (id) => {
    const ids = newTypedArray("i32", 40);
    ids[33] = id;
    const run = runOp(
      device,
      "embedding",
      {},
      {
        table: { shape: [5, D], data: uniform(next, 5 * D) },
        ids: { shape: [40], data: ids, dtype: "i32" },
      },
    );
    await expect(run).rejects.toThrow(UsageError);
    await expect(run).rejects.toThrow(`Expected an id in [0, 5) for embedding but received ${id} at place 33`);
  });
});
