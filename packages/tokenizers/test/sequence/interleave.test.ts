import { KraitError } from "@krait/core";
import { describe, expect, it } from "vitest";
import {
  interleave,
  type RunPart,
  type SeparatorPart,
  type TokenBlock,
  tokenSource,
} from "../../src/sequence/index.js";
import { block, collect, flatten, random, source, tokens } from "./helpers.js";

const run = async (sources: Parameters<typeof interleave<ReturnType<typeof source>>>[0], options = {}) =>
  flatten(await collect(interleave(sources, options)));

describe("the order of the flat sequence", () => {
  it("is windows of two seconds, a run per modality in the order of the sources, separators between windows", async () => {
    const video = source(2, tokens(0, 1, 5, 100));
    const audio = source(1, tokens(0.5, 1, 4, 200));
    const rows = await run([video, audio]);
    expect(rows.map(([modality, id, start]) => [modality, id, start])).toEqual([
      [2, 100, 0],
      [2, 101, 1],
      [1, 200, 0.5],
      [1, 201, 1.5],
      [255, -1, 2],
      [2, 102, 2],
      [2, 103, 3],
      [1, 202, 2.5],
      [1, 203, 3.5],
      [255, -1, 4],
      [2, 104, 4],
    ]);
    expect((await run([source(1, tokens(0.5, 1, 4)), source(2, tokens(0, 1, 5))]))[0]![0]).toBe(1);
  });

  it("gives a separator the border as start and end, and leaves separators out on request", async () => {
    const rows = await run([source(2, tokens(0.25, 1, 3))]);
    expect(rows[2]).toEqual([255, -1, 2, 2]);
    expect(await run([source(2, tokens(0.25, 1, 3))], { separators: false })).toHaveLength(3);
  });

  it("puts a token whole into the window that contains its start, and skips windows without tokens", async () => {
    const long = [
      { start: 1.9, end: 7, id: 0 },
      { start: 9, end: 9.5, id: 1 },
    ];
    const rows = await run([source(2, long), source(1, tokens(1.5, 0.25, 3, 10))]);
    expect(rows.map(([, id, start]) => [id, start])).toEqual([
      [0, 1.9],
      [10, 1.5],
      [11, 1.75],
      [-1, 2],
      [12, 2],
      [-1, 8],
      [1, 9],
    ]);
  });

  it("keeps a token on the right side of a border that is no binary fraction", async () => {
    const rows = await run([source(2, tokens(0, 0.1, 30))], { windowSeconds: 0.1 });
    let border = Number.NEGATIVE_INFINITY;
    for (const [modality, , start] of rows) {
      if (modality === 255) border = start;
      else expect(start).toBeGreaterThanOrEqual(border);
    }
    expect(rows.filter(([modality]) => modality === 255)).toHaveLength(29);
  });

  it("takes times before zero into windows of their own", async () => {
    const rows = await run([source(1, tokens(-0.5, 0.5, 2))]);
    expect(rows.map(([, id, start]) => [id, start])).toEqual([
      [0, -0.5],
      [-1, 0],
      [1, 0],
    ]);
    expect(Object.is(rows[1]![2], 0)).toBe(true);
  });

  it("merges sources of one modality by start, the earlier source first on equal starts", async () => {
    const a = source(
      2,
      [0, 0, 1, 1].map((start, i) => ({ start, end: start + 1, id: i })),
      { size: 3 },
    );
    const b = source(
      2,
      [0, 0.5, 1].map((start, i) => ({ start, end: start + 1, id: 10 + i })),
      { size: 1 },
    );
    expect((await run([a, b])).map(([, id]) => id)).toEqual([0, 1, 10, 11, 2, 3, 12]);
  });

  it("stands untimed text before the timed sources with [0, 0] or after them with [end, end]", async () => {
    const words = (id: number) => source(0, tokens(99, 1, 2, id), { timed: false, size: 1 });
    const rows = await run([
      words(1),
      words(3),
      source(1, tokens(0, 1, 2, 10)),
      words(5),
      source(2, tokens(0, 1.5, 1, 20)),
    ]);
    expect(rows).toEqual([
      [0, 1, 0, 0],
      [0, 2, 0, 0],
      [255, -1, 0, 0],
      [0, 3, 0, 0],
      [0, 4, 0, 0],
      [255, -1, 0, 0],
      [1, 10, 0, 1],
      [1, 11, 1, 2],
      [2, 20, 0, 1.5],
      [255, -1, 2, 2],
      [0, 5, 2, 2],
      [0, 6, 2, 2],
    ]);
    expect((await run([words(1)])).map(([, id]) => id)).toEqual([1, 2]);
  });

  it("is the same for every cutting into blocks and every timing of promises", async () => {
    const lists = [
      tokens(0, 0.23, 60, 0),
      tokens(0.1, 0.08, 150, 1000),
      tokens(0, 0.5, 25, 2000),
      tokens(0, 1, 9, 3000),
    ];
    const make = (rng?: () => number) => [
      source(0, tokens(0, 1, 9, 4000), { timed: false, ...(rng && { rng }) }),
      source(2, lists[0]!, rng && { rng }),
      source(1, lists[1]!, rng && { rng }),
      source(2, lists[2]!, rng && { rng }),
      source(0, lists[3]!, rng && { rng }),
    ];
    const whole = await run(make());
    expect(whole.filter(([modality]) => modality !== 255)).toHaveLength(60 + 150 + 25 + 9 + 9);
    const videoStarts = whole.filter(([modality]) => modality === 2).map(([, , start]) => start);
    expect(videoStarts).toEqual(videoStarts.toSorted((x, y) => x - y));
    for (let seed = 1; seed <= 12; seed++) expect(await run(make(random(seed)))).toEqual(whole);
  });

  it("of nothing is nothing", async () => {
    expect(await run([])).toEqual([]);
    expect(await run([source(2, []), source(0, [], { timed: false })])).toEqual([]);
  });
});

describe("bounds", () => {
  it("reads no source further than one block past the window at hand, and not at all while nobody asks", async () => {
    const video = source(2, tokens(0, 0.5, 1000), { size: 1 });
    const audio = source(1, tokens(0, 0.1, 5000), { size: 1 });
    const parts = interleave([video, audio]);
    let window = -1;
    for (let i = 0; i < 60; i++) {
      const { value } = await parts.next();
      const part = value as RunPart<number[]> | SeparatorPart;
      window = Math.floor((part.modality === 255 ? part.time : part.block.start[part.from]!) / 2);
      expect(video.pulled).toBeLessThanOrEqual((window + 1) * 4 + 1);
      expect(audio.pulled).toBeLessThanOrEqual((window + 1) * 20 + 1);
    }
    const { pulled } = video;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(video.pulled).toBe(pulled);
    await parts.return();
  });

  it("fills every source at once, so that one decoder can feed two sources through small queues", async () => {
    // Each source waits for the other to be asked for as many blocks, as streams of one demuxer do.
    const asked = [0, 0];
    const waiting: (() => void)[] = [];
    const paired = (me: 0 | 1) =>
      tokenSource(
        { modality: me === 0 ? (2 as const) : (1 as const), timed: true },
        (async function* () {
          for (let i = 0; i < 20; i++) {
            asked[me] = i + 1;
            for (const wake of waiting.splice(0)) wake();
            while (asked[1 - me]! < i + 1 - 1) await new Promise<void>((resolve) => waiting.push(resolve));
            yield block(me === 0 ? 2 : 1, tokens(i * 0.5, 0.5, 1, i));
          }
          asked[me] = Number.POSITIVE_INFINITY;
          for (const wake of waiting.splice(0)) wake();
        })(),
      );
    expect(flatten(await collect(interleave([paired(0), paired(1)])))).toHaveLength(40 + 4);
  });

  it("refuses a source whose times hardly advance instead of holding it all", async () => {
    const endless = source(2, tokens(0, 1e-9, 10_000), { size: 10 });
    await expect(run([endless], { maxWindowTokens: 100 })).rejects.toMatchObject({ code: "WINDOW_TOO_DENSE" });
    expect(endless.pulled).toBeLessThanOrEqual(110);
    expect(endless.returned).toBe(1);
  });
});

describe("errors", () => {
  const bad = (code: string, list: { start: number; end: number; id: number }[], size = 4) =>
    it(`${code} for ${JSON.stringify(list.map(({ start, end }) => [start, end]))} in blocks of ${size}`, async () => {
      const other = source(1, tokens(0, 0.1, 100));
      const error = await run([source(2, list, { size }), other]).catch((e: unknown) => e);
      expect(KraitError.is(error) && [error.kind, error.code]).toEqual(["input", code]);
      expect(other.returned).toBe(1);
    });
  const at = (start: number, end = start + 1) => ({ start, end, id: 0 });
  bad("TIMES_FALL", [at(1), at(0.5)]);
  bad("TIMES_FALL", [at(1), at(0.5)], 1);
  bad("TIMES_OUT_OF_RANGE", [at(0), at(Number.NaN)]);
  bad("TIMES_OUT_OF_RANGE", [at(0, Number.NaN)]);
  bad("TIMES_OUT_OF_RANGE", [at(Number.POSITIVE_INFINITY)]);
  bad("TIMES_OUT_OF_RANGE", [at(3.2e9)]);
  bad("TIMES_REVERSED", [at(1, 0.5)]);

  it("names blocks that are not what their source said", async () => {
    const wrong = (value: TokenBlock<number[]>) =>
      tokenSource(
        { modality: 2, timed: true },
        (async function* () {
          yield value;
        })(),
      );
    const good = block(2, tokens(0, 1, 3));
    const failing = (value: TokenBlock<number[]>) => collect(interleave([wrong(value)])).catch((e) => e.code);
    expect(await failing(block(1, tokens(0, 1, 3)))).toBe("MODALITY_MISMATCH");
    expect(await failing({ ...good, end: new Float64Array(2) })).toBe("BLOCK_SHAPE");
    expect(await failing({ ...good, row: new Uint16Array(4) })).toBe("BLOCK_SHAPE");
  });

  it("refuses bad options at once", () => {
    for (const options of [{ windowSeconds: 0 }, { windowSeconds: Number.NaN }, { window: 2 }])
      expect(() => interleave([], options as object)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    const twice = source(2, []);
    expect(() => interleave([twice, twice])).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });

  it("passes a source's own error on and ends the others", async () => {
    const failing = tokenSource(
      { modality: 2, timed: true },
      (async function* () {
        yield block(2, tokens(0, 1, 1));
        throw new Error("decoder died");
      })(),
    );
    const other = source(1, tokens(0, 0.1, 100));
    await expect(collect(interleave([failing, other]))).rejects.toThrow("decoder died");
    expect(other.returned).toBe(1);
  });
});

describe("leaving early", () => {
  it("ends every source when the consumer breaks", async () => {
    const sources = [source(2, tokens(0, 0.5, 100)), source(1, tokens(0, 0.1, 500))];
    for await (const _ of interleave(sources)) break;
    expect(sources.map((s) => s.returned)).toEqual([1, 1]);
  });

  it("stops at once on abort, also while a source hangs in next()", async () => {
    const controller = new AbortController();
    let told = false;
    const stuck = {
      modality: 2 as const,
      timed: true,
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => {}),
        return: () => {
          told = true;
          return new Promise<never>(() => {});
        },
      }),
    };
    const pending = collect(interleave([stuck, source(1, tokens(0, 0.1, 100))], { signal: controller.signal }));
    setTimeout(() => controller.abort(), 5);
    await expect(pending).rejects.toMatchObject({ code: "ABORTED" });
    expect(told).toBe(true);
  });

  it("throws on a signal that fired before or between parts", async () => {
    const fired = AbortSignal.abort();
    await expect(collect(interleave([source(2, tokens(0, 1, 3))], { signal: fired }))).rejects.toMatchObject({
      code: "ABORTED",
    });
    const controller = new AbortController();
    const video = source(2, tokens(0, 0.5, 100));
    const parts = interleave([video], { signal: controller.signal });
    await parts.next();
    controller.abort();
    await expect(parts.next()).rejects.toMatchObject({ code: "ABORTED" });
    expect(video.returned).toBe(1);
  });
});
