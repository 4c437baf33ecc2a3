import { audio, type FeaturePart, type Features, loadEncoder, type Pool, type Source, text, video } from "krait";
import { beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, relativeRms, tiny } from "../../../test/fixtures.js";
import { createPooler, poolParts, type Row } from "../src/pool.js";

interface Entry {
  modality: number;
  start: number;
  end: number;
  place?: number;
  value: number;
}

function part(entries: readonly Entry[]): FeaturePart {
  return {
    count: entries.length,
    dim: 1,
    features: Float32Array.from(entries, (e) => e.value),
    start: Float64Array.from(entries, (e) => e.start),
    end: Float64Array.from(entries, (e) => e.end),
    modality: Uint8Array.from(entries, (e) => e.modality),
    row: new Uint16Array(entries.length),
    column: Uint16Array.from(entries, (e) => e.place ?? 0),
  };
}

/** Rows of the sequence, cut into parts of `size` tokens, as [modality, start, end, mean]. */
async function pooled(entries: readonly Entry[], pool: Exclude<Pool, "token">, size = entries.length) {
  async function* parts() {
    for (let from = 0; from < entries.length; from += size) yield part(entries.slice(from, from + size));
  }
  const rows: number[][] = [];
  for await (const p of poolParts(parts(), createPooler(pool, 2)))
    for (let i = 0; i < p.count; i++) rows.push([p.modality[i]!, p.start[i]!, p.end[i]!, p.features[i]!]);
  return rows;
}

const sequence: Entry[] = [
  { modality: 0, start: 0, end: 0, value: 1 },
  { modality: 0, start: 0, end: 0, value: 3 },
  { modality: 255, start: 0, end: 0, value: 9 },
  ...[0, 1, 0, 1].map((place, i) => ({ modality: 2, start: 0, end: 1, place, value: i })),
  { modality: 2, start: 1, end: 2.5, value: 8 },
  { modality: 1, start: 0.1, end: 0.2, value: 2 },
  { modality: 1, start: 0.7, end: 1.7, value: 4 },
  { modality: 255, start: 2, end: 2, value: 9 },
  { modality: 2, start: 2.5, end: 3, value: 5 },
  { modality: 1, start: 2.1, end: 2.2, value: 7 },
];

describe("pooling", () => {
  it("to frames keeps times and tells two tubelets of the same times apart", async () => {
    expect(await pooled(sequence, "frame")).toEqual([
      [0, 0, 0, 2],
      [255, 0, 0, 9],
      [2, 0, 1, 0.5],
      [2, 0, 1, 2.5],
      [2, 1, 2.5, 8],
      [1, expect.closeTo(0.1, 12), 0.2, 2],
      [1, 0.7, 1.7, 4],
      [255, 2, 2, 9],
      [2, 2.5, 3, 5],
      [1, 2.1, 2.2, 7],
    ]);
  });

  it("to windows takes the mean per modality, with the earliest start and the latest end", async () => {
    expect(await pooled(sequence, 1)).toEqual([
      [0, 0, 0, 2],
      [255, 0, 0, 9],
      [2, 0, 1, 1.5],
      [1, 0.1, 1.7, 3],
      [2, 1, 2.5, 8],
      [255, 2, 2, 9],
      [2, 2.5, 3, 5],
      [1, 2.1, 2.2, 7],
    ]);
  });

  it("does not depend on how the sequence is cut", async () => {
    for (const pool of ["frame", 0.5, 1, 3, 100] as const) {
      const whole = await pooled(sequence, pool);
      for (let size = 1; size < sequence.length; size++) expect(await pooled(sequence, pool, size)).toEqual(whole);
    }
  });

  it("gives the class token a row of its own, which parts no other", async () => {
    const parted = sequence.toSpliced(5, 0, { modality: 254, start: 0, end: 0, value: 6 });
    const wanted = await pooled(sequence, "frame");
    expect(await pooled(parted, "frame")).toEqual(wanted.toSpliced(3, 0, [254, 0, 0, 6]));
    expect(await pooled(parted, "class")).toEqual([[254, 0, 0, 6]]);
    expect(await pooled(sequence, "class")).toEqual([]);
    const windows = await pooled(parted, 1);
    expect(windows.filter(([modality]) => modality !== 254)).toEqual(await pooled(sequence, 1));
  });

  it("goes on from what was saved, after any token", async () => {
    const parted = part(sequence.toSpliced(5, 0, { modality: 254, start: 0, end: 0, value: 6 }));
    for (const pool of ["frame", "class", 0.5, 3] as const) {
      const whole = createPooler(pool, 2);
      let moved = createPooler(pool, 2);
      const rows: Row[] = [];
      for (let i = 0; i < parted.count; i++) {
        whole.add(parted, i);
        moved.add(parted, i);
        rows.push(...moved.take());
        const saved = structuredClone(moved.save());
        moved = createPooler(pool, 2);
        moved.restore(saved);
      }
      whole.end();
      moved.end();
      expect([...rows, ...moved.take()], `${pool}`).toEqual(whole.take());
    }
  });

  it("holds no more than the window it is in", async () => {
    let taken = 0;
    async function* parts() {
      for (let i = 0; i < 100; i++) {
        taken = i;
        yield part([{ modality: 1, start: i, end: i + 1, value: i }]);
      }
    }
    for await (const { start } of poolParts(parts(), createPooler(2, 2)))
      expect(taken - start[0]!).toBeLessThanOrEqual(2);
  });
});

describe.skipIf(!built)("a pooled sequence", () => {
  const at = folderOfTests();
  let clip = "";
  beforeAll(() => {
    clip = makeClip(at("clip.mp4"), { seconds: 4.3 });
  });
  const sources = (): Source[] => [text("A prefix."), video(clip, { fps: 5 }), audio(clip), text("An end.")];
  const encode = async (pool: Pool | undefined, chunkTokens: number): Promise<Features> => {
    const encoder = await loadEncoder(tiny, { device: "cpu", chunkTokens });
    try {
      return await encoder.encode(sources(), { pool });
    } finally {
      await encoder.close();
    }
  };

  it("is the mean of the whole one, streamed in small chunks too", async () => {
    const tokens = await encode(undefined, 4096);
    for (const pool of ["frame", 1.5] as const) {
      const whole = await encode(pool, 4096);
      const streamed = await encode(pool, 29);
      expect(streamed.tokens).toEqual(whole.tokens);
      expect(relativeRms(streamed.data, whole.data)).toBeLessThan(1e-4);
      if (pool !== "frame") continue;
      expect(whole.tokens.filter((t) => t.modality === "video")).toHaveLength(11);
      const first = tokens.tokens.findIndex((t) => t.modality === "video");
      const row = whole.tokens.findIndex((t) => t.modality === "video");
      const mean = [0, 1, 2, 3].reduce((sum, i) => sum + tokens.data[(first + i) * tokens.dim]!, 0) / 4;
      expect(whole.data[row * whole.dim]).toBeCloseTo(mean, 5);
      expect(whole.tokens[row]!.end).toBe(tokens.tokens[first]!.end);
    }
  });

  it("refuses other words and lengths", async () => {
    for (const pool of ["scene", 0, -1, Number.NaN]) {
      await expect(encode(pool as Pool, 64)).rejects.toMatchObject({ code: "INVALID_OPTION", kind: "usage" });
    }
  });
});
