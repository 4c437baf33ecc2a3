import { describe, expect, it } from "vitest";
import { interleave, type TokenBlock } from "../../src/sequence/index.js";
import { predictVideoTokens, type VideoFrame, type VideoPayload, videoTokenSource } from "../../src/video/index.js";

const width = 6;
const height = 4;
const bytes = width * height * 3;
const grid = { width, height, patch: 2 };

/** Frame i is filled with i + 1 and lasts from start to end. */
function frame(i: number, start = i / 2, end = start + 0.5): VideoFrame {
  return { pixels: new Uint8Array(bytes).fill(i + 1), width, height, start, end };
}

async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

async function collect(source: AsyncIterable<TokenBlock<VideoPayload>>): Promise<TokenBlock<VideoPayload>[]> {
  const blocks: TokenBlock<VideoPayload>[] = [];
  for await (const block of source) blocks.push(block);
  return blocks;
}

/** The fill of each frame of a tubelet; fails for mixed frames. */
function fills({ payload: { frames } }: TokenBlock<VideoPayload>): number[] {
  return Array.from({ length: frames.length / bytes }, (_, i) => {
    const values = new Set(frames.subarray(i * bytes, (i + 1) * bytes));
    expect(values.size).toBe(1);
    return [...values][0]!;
  });
}

describe("video tokens", () => {
  it("group frames to tubelets, from the first one's start to the last one's end", async () => {
    const times = [0.04, 0.5, 1.3, 1.3, 2.75, 3];
    const frames = times.map((t, i) => frame(i, t, times[i + 1] ?? 3.2));
    const blocks = await collect(videoTokenSource({ ...grid, parts: each(frames), tubelet: 2 }));
    expect(blocks.map(fills)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(blocks.map((b) => [new Set(b.start), new Set(b.end)])).toEqual([
      [new Set([0.04]), new Set([1.3])],
      [new Set([1.3]), new Set([2.75])],
      [new Set([2.75]), new Set([3.2])],
    ]);
    for (const { modality, count, start, end, row, column } of blocks) {
      expect([modality, count, start.length, end.length]).toEqual([2, 6, 6, 6]);
      expect([...row]).toEqual([0, 0, 0, 1, 1, 1]);
      expect([...column]).toEqual([0, 1, 2, 0, 1, 2]);
    }
  });

  it("repeat the last frame of a tubelet left short, which a still image is", async () => {
    const [first, last, ...more] = await collect(
      videoTokenSource({ ...grid, parts: each([0, 1, 2, 3, 4].map((i) => frame(i))), tubelet: 4 }),
    );
    expect([fills(first!), fills(last!), more]).toEqual([[1, 2, 3, 4], [5, 5, 5, 5], []]);
    expect([last!.start[0], last!.end[5]]).toEqual([2, 2.5]);
    const image = await collect(videoTokenSource({ ...grid, parts: each([frame(6, 0, 0)]), tubelet: 2 }));
    expect([image.map(fills), image[0]!.end[0]]).toEqual([[[7, 7]], 0]);
  });

  it("give every block memory of its own", async () => {
    const pixels = new Uint8Array(bytes);
    async function* reused() {
      for (let i = 0; i < 3; i++) yield { ...frame(i), pixels: pixels.fill(i + 1) };
    }
    const blocks = await collect(videoTokenSource({ ...grid, parts: reused(), tubelet: 1 }));
    expect(blocks.map(fills)).toEqual([[1], [2], [3]]);
    blocks[0]!.row.fill(9);
    expect(blocks[1]!.row[0]).toBe(0);
  });

  it("are as many as predicted", async () => {
    for (const count of [0, 1, 2, 3, 8]) {
      for (const tubelet of [1, 2, 8]) {
        const parts = each(Array.from({ length: count }, (_, i) => frame(i)));
        const blocks = await collect(videoTokenSource({ ...grid, parts, tubelet }));
        const made = blocks.reduce((sum, b) => sum + b.count, 0);
        expect(made).toBe(predictVideoTokens(count, { ...grid, tubelet }));
      }
    }
    // An hour at 1 frame per second of 224² in patches of 16; the same at 2 per second in tubelets of 2.
    expect(predictVideoTokens(3600, { tubelet: 1 })).toBe(705_600);
    expect(predictVideoTokens(7200)).toBe(705_600);
    for (const count of [-1, 0.5, Number.NaN]) {
      expect(() => predictVideoTokens(count)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    }
  });

  it("ask for frames as their tokens are taken", async () => {
    let asked = 0;
    let ended = false;
    async function* counted() {
      try {
        for (; asked < 100; ) yield frame(asked++);
      } finally {
        await new Promise((resolve) => setTimeout(resolve, 5));
        ended = true;
      }
    }
    const iterator = videoTokenSource({ ...grid, parts: counted(), tubelet: 2 })[Symbol.asyncIterator]();
    expect(asked).toBe(0);
    await iterator.next();
    expect(asked).toBe(2);
    await iterator.return?.();
    expect([asked, ended]).toEqual([2, true]);
  });

  it("keep tubelets whole and in order in the flat sequence", async () => {
    const parts = each([0, 1, 2, 3, 4, 5, 6, 7].map((i) => frame(i)));
    const sources = [videoTokenSource({ ...grid, parts, tubelet: 2 })];
    const seen: number[] = [];
    for await (const part of interleave(sources, { separators: false })) {
      if (part.modality !== 255) seen.push(...part.block.start.subarray(part.from, part.to));
    }
    expect(seen).toEqual([0, 1, 2, 3].flatMap((t) => new Array(6).fill(t)));
  });

  it.each([
    ["of another size", { width: height, height: width }, "usage", "FRAME_SIZE_MISMATCH"],
    ["with bytes missing", { pixels: new Uint8Array(bytes - 1) }, "usage", "FRAME_SIZE_MISMATCH"],
    ["with bytes too many", { pixels: new Uint8Array(bytes * 2) }, "usage", "FRAME_SIZE_MISMATCH"],
    [
      "that claims what it does not hold",
      { width: width * 2, pixels: new Uint8Array(bytes) },
      "usage",
      "FRAME_SIZE_MISMATCH",
    ],
    ["without pixels", { pixels: undefined }, "usage", "MODALITY_MISMATCH"],
    ["before the frame before it", { start: 0.25 }, "input", "TIMES_FALL"],
    ["without a time", { start: Number.NaN }, "input", "TIMES_INVALID"],
    ["that never ends", { end: Number.POSITIVE_INFINITY }, "input", "TIMES_INVALID"],
    ["that ends before it starts", { end: 0.9 }, "input", "TIMES_REVERSED"],
  ])("refuse a frame %s", async (_, fault, kind, code) => {
    for (const tubelet of [1, 2]) {
      const parts = each([frame(0), frame(1, 0.5, 1), { ...frame(2), ...fault } as VideoFrame]);
      const source = videoTokenSource({ ...grid, parts, tubelet });
      await expect(collect(source)).rejects.toMatchObject({ kind, code, hint: expect.any(String) });
    }
  });

  it("refuse options that cut no whole patches", () => {
    const parts = each<VideoFrame>([]);
    for (const options of [
      { ...grid, width: 7 },
      { ...grid, height: 5 },
      { ...grid, tubelet: 0 },
      { ...grid, tubelet: 17 },
      { ...grid, patch: 1.5 },
      { ...grid, width: 0 },
      { ...grid, width: 1e9 },
      { ...grid, fps: 2 },
      { ...grid, parts: undefined },
      { ...grid, parts: [] },
    ]) {
      expect(() => videoTokenSource({ parts, ...options } as never)).toThrow(
        expect.objectContaining({ kind: "usage", code: "INVALID_OPTION" }),
      );
    }
  });

  it("stop on a signal, also while a frame is awaited", async () => {
    const controller = new AbortController();
    let asked = 0;
    const stuck = {
      [Symbol.asyncIterator]: () => ({
        next: () =>
          asked++ === 0
            ? Promise.resolve({ done: false as const, value: frame(0) })
            : new Promise<never>(() => undefined),
      }),
    };
    const iteration = collect(videoTokenSource({ ...grid, parts: stuck, signal: controller.signal }));
    setTimeout(() => controller.abort(), 20);
    await expect(iteration).rejects.toMatchObject({ code: "ABORTED" });
    expect(asked).toBe(2);
  });
});
