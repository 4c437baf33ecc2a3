import { writeFile } from "node:fs/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { type OnnxOptions, openOnnx, openVisionTower, openWhisperEncoder } from "../../src/onnx/index.js";
import { sound } from "../audio/helpers.js";
import { devices, relativeRms } from "../devices.js";
import { writeModel } from "./build.js";

const f32 = (shape: number[], data: number[]) => ({ shape, data: Float32Array.from(data) });

async function open(options: OnnxOptions) {
  const model = await openOnnx(options);
  onTestFinished(() => model.close());
  return model;
}

/** y = x + state, and y is the next state. */
const adder = () =>
  writeModel({
    nodes: [
      { op: "Add", inputs: ["x", "state"], outputs: ["y"] },
      { op: "Identity", inputs: ["y"], outputs: ["next"] },
    ],
    inputs: [
      { name: "x", shape: [2] },
      { name: "state", shape: [2] },
    ],
    outputs: [
      { name: "y", shape: [2] },
      { name: "next", shape: [2] },
    ],
  });
const adderSpecs = {
  inputs: { x: { dtype: "f32", shape: [2] }, state: { dtype: "f32", shape: [2] } },
  outputs: { y: { dtype: "f32", shape: [2] }, next: { dtype: "f32", shape: [2] } },
} as const;

/** n squarings of a square matrix, so that a run takes a while. */
const slow = (side: number, count: number) =>
  writeModel({
    nodes: Array.from({ length: count }, (_, i) => ({
      op: "MatMul",
      inputs: [i === 0 ? "x" : `h${i}`, "x"],
      outputs: [i === count - 1 ? "y" : `h${i + 1}`],
    })),
    inputs: [{ name: "x", shape: [side, side] }],
    outputs: [{ name: "y", shape: [side, side] }],
  });

describe("an ONNX model", () => {
  it("runs, with and without carried state", async () => {
    const model = await open({ model: await adder(), ...adderSpecs, state: { state: "next" } });
    const once = await model.run({ x: f32([2], [1, 2]), state: f32([2], [10, 20]) });
    expect([...once.y!.data]).toEqual([11, 22]);
    const [a, b] = [model.session(), model.session()];
    for (const [session, wanted] of [
      [a, [1, 2]],
      [a, [2, 4]],
      [b, [1, 2]],
      [a, [3, 6]],
    ] as const) {
      expect([...(await session.run({ x: f32([2], [1, 2]) })).y!.data]).toEqual(wanted);
    }
  });

  it("keeps the state of before when a run fails", async () => {
    const model = await open({ model: await adder(), ...adderSpecs, state: { state: "next" } });
    const session = model.session();
    await session.run({ x: f32([2], [1, 2]) });
    await expect(session.run({ x: f32([3], [1, 2, 3]) })).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
    expect([...(await session.run({ x: f32([2], [0, 0]) })).y!.data]).toEqual([1, 2]);
  });

  it("leaves the event loop free", async () => {
    const model = await open({
      model: await slow(512, 60),
      inputs: { x: { dtype: "f32", shape: [512, 512] } },
      outputs: { y: { dtype: "f32", shape: [512, 512] } },
    });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await model.run({ x: { shape: [512, 512], data: new Float32Array(512 * 512).fill(0.001) } });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });

  it("stops on a signal, also while it waits for another run", async () => {
    const side = 512;
    const model = await open({
      model: await slow(side, 60),
      inputs: { x: { dtype: "f32", shape: [side, side] } },
      outputs: { y: { dtype: "f32", shape: [side, side] } },
    });
    const x = { shape: [side, side], data: new Float32Array(side * side) };
    const controller = new AbortController();
    const first = model.run({ x }, { signal: controller.signal });
    const second = model.run({ x }, { signal: controller.signal });
    const third = model.run({ x });
    controller.abort();
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    await expect(second).rejects.toMatchObject({ code: "ABORTED" });
    await expect(model.run({ x }, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect((await third).y!.shape).toEqual([side, side]);
  });

  it("says what a model lacks or has otherwise", async () => {
    const model = await adder();
    for (const [inputs, outputs] of [
      [{ ...adderSpecs.inputs, z: { dtype: "f32", shape: [2] } }, adderSpecs.outputs],
      [{ x: adderSpecs.inputs.x }, adderSpecs.outputs],
      [{ ...adderSpecs.inputs, x: { dtype: "i64", shape: [2] } }, adderSpecs.outputs],
      [{ ...adderSpecs.inputs, x: { dtype: "f32", shape: [3] } }, adderSpecs.outputs],
      [adderSpecs.inputs, { z: { dtype: "f32", shape: [2] } }],
    ] as const) {
      await expect(openOnnx({ model, inputs, outputs } as unknown as OnnxOptions)).rejects.toMatchObject({
        kind: "input",
        code: "ONNX_MISMATCH",
      });
    }
    const state = { state: "nothing" };
    await expect(openOnnx({ model, ...adderSpecs, state })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  it("refuses files that are none, and more bytes than allowed", async () => {
    const model = await adder();
    await expect(openOnnx({ model, ...adderSpecs, maxBytes: 10 })).rejects.toMatchObject({ code: "ONNX_TOO_LARGE" });
    await expect(openOnnx({ model: "/nonesuch.onnx", ...adderSpecs })).rejects.toMatchObject({
      code: "FILE_NOT_FOUND",
    });
    await writeFile(model, "no model at all");
    await expect(openOnnx({ model, ...adderSpecs })).rejects.toMatchObject({ kind: "input", code: "ONNX_INVALID" });
  });

  it("holds one name to one size, and gives runs an end when closed", async () => {
    const model = await open({
      model: await writeModel({
        nodes: [{ op: "Add", inputs: ["a", "b"], outputs: ["y"] }],
        inputs: [
          { name: "a", shape: ["n"] },
          { name: "b", shape: ["n"] },
        ],
        outputs: [{ name: "y", shape: ["n"] }],
      }),
      inputs: { a: { dtype: "f32", shape: ["n"] }, b: { dtype: "f32", shape: ["n"] } },
      outputs: { y: { dtype: "f32", shape: ["n"] } },
    });
    expect((await model.run({ a: f32([3], [1, 2, 3]), b: f32([3], [1, 1, 1]) })).y!.shape).toEqual([3]);
    await expect(model.run({ a: f32([3], [1, 2, 3]), b: f32([1], [1]) })).rejects.toMatchObject({
      code: "SHAPE_MISMATCH",
    });
    await model.close();
    await expect(model.run({ a: f32([1], [1]), b: f32([1], [1]) })).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("adapters", () => {
  it("give a vision tower normalised pixels and its features the pictures' times", async () => {
    // Means over rows and columns: [batch, 3] as pooled features.
    const path = await writeModel({
      nodes: [
        { op: "ReduceMean", inputs: ["pixel_values"], outputs: ["pooled"], attributes: { axes: [2, 3], keepdims: 0 } },
      ],
      inputs: [{ name: "pixel_values", shape: ["batch", 3, 8, 8] }],
      outputs: [{ name: "pooled", shape: ["batch", 3] }],
    });
    await using tower = await openVisionTower({
      model: path,
      processor: { fit: { kind: "exact", width: 8, height: 8 }, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
      output: "pooled",
      pooled: true,
      batch: 2,
    });
    const levels = [0, 255, 51];
    async function* frames() {
      for (const [i, level] of levels.entries()) {
        const pixels = new Uint8Array(16 * 9 * 3).fill(level);
        yield { pixels, width: 16, height: 9, start: i / 10, end: (i + 1) / 10 };
      }
    }
    const parts = [];
    for await (const part of tower.embed(frames())) parts.push(part);
    expect(parts.map(({ start }) => start)).toEqual([0, 0.1, 0.2]);
    for (const [i, { features, tokens, dim }] of parts.entries()) {
      expect([tokens, dim]).toEqual([1, 3]);
      for (const value of features) expect(value).toBeCloseTo((levels[i]! / 255 - 0.5) * 2, 5);
    }
  });

  it.each(devices.slice(1))(
    "give a Whisper encoder windows of 30 s with a time base of 20 ms, on %s",
    async (_, openDevice) => {
      // Pairs of frames joined by their maximum, then features last: [1, 1500, 80].
      const path = await writeModel({
        nodes: [
          {
            op: "MaxPool",
            inputs: ["input_features"],
            outputs: ["pairs"],
            attributes: { kernel_shape: [2], strides: [2] },
          },
          { op: "Transpose", inputs: ["pairs"], outputs: ["last_hidden_state"], attributes: { perm: [0, 2, 1] } },
        ],
        inputs: [{ name: "input_features", shape: [1, 80, 3000] }],
        outputs: [{ name: "last_hidden_state", shape: [1, 1500, 80] }],
      });
      await using device = await openDevice();
      await using encoder = await openWhisperEncoder(device, { model: path });
      const x = sound(3, 16000 * 31 + 100);
      const cut = async (size: number) => {
        async function* parts() {
          for (let at = 0; at < x.length; at += size) {
            yield { samples: x.subarray(at, at + size), sampleRate: 16000, start: 2 + at / 16000 };
          }
        }
        const all = [];
        for await (const part of encoder.encode(parts())) all.push(part);
        return all;
      };
      const parts = await cut(16000);
      expect(parts.map(({ tokens, dim, start }) => [tokens, dim, start])).toEqual([
        [1500, 80, 2],
        [51, 80, 32],
      ]);
      expect(parts[1]!.end).toBeCloseTo(2 + x.length / 16000, 9);
      const again = await cut(7777);
      for (const [i, part] of parts.entries()) expect(relativeRms(again[i]!.features, part.features)).toBe(0);
      // Whisper's scale: at most 8 powers of ten, a quarter each, below the window's maximum.
      for (const { features } of parts) {
        const [low, high] = [features, features].map((f, i) =>
          f.reduce((a, b) => (i === 0 ? Math.min(a, b) : Math.max(a, b))),
        );
        expect(high! - low!).toBeLessThanOrEqual(2 + 1e-6);
      }
    },
  );
});
