import { describe, expect, it, onTestFinished } from "vitest";
import { type OnnxChunk, type OnnxChunkOptions, OnnxChunkStream, openOnnx } from "../../src/onnx/index.js";
import { random } from "../devices.js";
import { writeModel } from "./build.js";

/** The greatest of every three rows, feature by feature: [1, 2, 6] to [1, 2, 2]. */
async function pooling() {
  const model = await writeModel({
    nodes: [
      { op: "MaxPool", inputs: ["x"], outputs: ["pooled"], attributes: { kernel_shape: [3], strides: [3] } },
      { op: "Transpose", inputs: ["pooled"], outputs: ["y"], attributes: { perm: [0, 2, 1] } },
    ],
    inputs: [{ name: "x", shape: [1, 2, 6] }],
    outputs: [{ name: "y", shape: [1, 2, 2] }],
  });
  const opened = await openOnnx({
    model,
    inputs: { x: { dtype: "f32", shape: [1, 2, 6] } },
    outputs: { y: { dtype: "f32", shape: [1, "tokens", "dim"] } },
  });
  onTestFinished(() => opened.close());
  return opened;
}

/** What came so far, plus the chunk, plus a constant. */
async function summing() {
  const value = (name: string) => ({ name, shape: [1, 4] });
  const model = await writeModel({
    nodes: [
      { op: "Add", inputs: ["x", "state"], outputs: ["sum"] },
      { op: "Add", inputs: ["sum", "more"], outputs: ["y"] },
      { op: "Identity", inputs: ["sum"], outputs: ["next"] },
    ],
    inputs: [value("x"), value("state"), value("more")],
    outputs: [value("y"), value("next")],
  });
  const spec = { dtype: "f32", shape: [1, 4] } as const;
  const opened = await openOnnx({
    model,
    inputs: { x: spec, state: spec, more: spec },
    outputs: { y: spec, next: spec },
    state: { state: "next" },
  });
  onTestFinished(() => opened.close());
  return opened;
}

async function collect(stream: OnnxChunkStream, values: Float32Array, cut: () => number): Promise<OnnxChunk[]> {
  const chunks: OnnxChunk[] = [];
  for (let at = 0; at < values.length; ) {
    const size = cut();
    chunks.push(...(await stream.push(values.subarray(at, at + size))));
    at += size;
  }
  return [...chunks, ...(await stream.finish())];
}

describe("a model that is fed in chunks", () => {
  it("sees each row once, the context before it again, and gives tokens the rows' times, however they are cut", async () => {
    const model = await pooling();
    const rng = random(3);
    const rows = 15;
    const values = Float32Array.from({ length: rows * 2 }, () => rng() - 0.5);
    const options = {
      ...{ input: "x", output: "y", layout: "columns", rowSize: 2, chunk: 4, context: 2, fill: -9 },
      ...{ period: 0.25, start: 10 },
    } satisfies OnnxChunkOptions;
    const row = (i: number, k: number) => (i < 0 || i >= rows ? -9 : values[2 * i + k]!);
    // Chunk c reads rows 4c − 2 … 4c + 3 and makes two tokens of three rows each.
    const wanted = [0, 1, 2, 3].map((c) => {
      const token = (t: number, k: number) => Math.max(...[0, 1, 2].map((j) => row(4 * c - 2 + 3 * t + j, k)));
      return { start: 10 + c, end: c < 3 ? 11 + c : 13.75, features: [0, 1, 2, 3].map((i) => token(i >> 1, i & 1)) };
    });
    for (const cut of [() => 2, () => 30, () => 2 * (1 + Math.floor(rng() * 5))]) {
      const chunks = await collect(new OnnxChunkStream(model, options), values, cut);
      expect(chunks.map(({ start, end, features }) => ({ start, end, features: [...features] }))).toEqual(wanted);
      for (const { tokens, dim, period } of chunks) expect([tokens, dim, period]).toEqual([2, 2, 0.5]);
    }
  });

  it("keeps only the tokens over rows of a last chunk that is short", async () => {
    const options = {
      ...{ input: "x", output: "y", layout: "columns", rowSize: 2, chunk: 6, period: 0.01 },
    } satisfies OnnxChunkOptions;
    const chunks = await collect(new OnnxChunkStream(await pooling(), options), new Float32Array(2 * 8), () => 4);
    expect(chunks.map(({ tokens, features }) => [tokens, features.length])).toEqual([
      [2, 4],
      [1, 2],
    ]);
    expect(chunks[1]!.end).toBeCloseTo(0.08, 9);
  });

  it("carries its state from chunk to chunk, each stream its own", async () => {
    const model = await summing();
    const options = {
      ...{ input: "x", output: "y", layout: "samples", chunk: 4, period: 1 },
      constants: { more: { shape: [1, 4], data: Float32Array.of(100, 100, 100, 100) } },
    } satisfies OnnxChunkOptions;
    const streams = [new OnnxChunkStream(model, options), new OnnxChunkStream(model, options)] as const;
    const ones = new Float32Array(10).fill(1);
    for (const stream of streams) {
      const chunks = await collect(stream, ones, () => 3);
      expect(chunks.map(({ features }) => [...features])).toEqual([
        [101, 101, 101, 101],
        [102, 102, 102, 102],
        [103, 103, 102, 102],
      ]);
      expect(chunks.map(({ tokens, dim, end }) => [tokens, dim, end])).toEqual([
        [1, 4, 4],
        [1, 4, 8],
        [1, 4, 10],
      ]);
    }
  });

  it("takes one call at a time, whole rows, and nothing behind its end", async () => {
    const model = await pooling();
    const options = { input: "x", output: "y", layout: "columns", rowSize: 2, chunk: 6, period: 1 } as const;
    const stream = new OnnxChunkStream(model, options);
    await expect(stream.push(new Float32Array(3))).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
    const first = stream.push(new Float32Array(12));
    await expect(stream.push(new Float32Array(2))).rejects.toMatchObject({ code: "STREAM_NOT_OPEN" });
    expect(await first).toHaveLength(1);
    expect(await stream.finish()).toEqual([]);
    await expect(stream.push(new Float32Array(2))).rejects.toMatchObject({ code: "STREAM_NOT_OPEN" });
    for (const wrong of [{ layout: "samples" }, { chunk: 0 }, { period: 0 }]) {
      const made = () => new OnnxChunkStream(model, { ...options, ...wrong } as OnnxChunkOptions);
      expect(made).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    }
    const other = new OnnxChunkStream(model, { ...options, output: "z" });
    await expect(other.push(new Float32Array(12))).rejects.toMatchObject({ code: "ONNX_MISMATCH" });
  });
});
