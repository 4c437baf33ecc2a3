import { describe, expect, it } from "vitest";
import type { VideoFrame } from "../../src/video/index.js";
import { economizeFrames, economizeTokens, type FrameEconomyOptions } from "../../src/vision/index.js";
import { random } from "../devices.js";
import { noise } from "./helpers.js";

/** Frames at uneven times, as a variable rate gives them. */
function video(levels: readonly number[], { jitter = 0, seed = 1 } = {}): VideoFrame[] {
  const rng = random(seed);
  const starts = levels.map((_, i) => i * 0.04 + rng() * 0.01);
  return levels.map((level, i) => ({
    pixels: Uint8Array.from({ length: 40 * 30 * 3 }, () => level + Math.round((rng() - 0.5) * jitter)),
    width: 40,
    height: 30,
    start: starts[i]!,
    end: starts[i + 1] ?? starts[i]! + 0.04,
  }));
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

async function economize(frames: readonly VideoFrame[], options: FrameEconomyOptions = {}) {
  const kept = [];
  for await (const frame of economizeFrames(each(frames), options)) kept.push(frame);
  // Whatever is left out, the time is covered without gap or overlap, by the frames' own times.
  expect(kept.reduce((sum, { frames }) => sum + frames, 0)).toBe(frames.length);
  let at = 0;
  for (const { start, end, frames: count } of kept) {
    expect(start).toBe(frames[at]!.start);
    at += count;
    expect(end).toBe(frames[at - 1]!.end);
  }
  return kept;
}

const repeat = (level: number, count: number) => new Array<number>(count).fill(level);

describe("the frame economy", () => {
  it("joins frames that differ by noise only, and cuts where the picture does", async () => {
    const frames = video([...repeat(50, 20), ...repeat(150, 7), ...repeat(60, 1)], { jitter: 8 });
    const kept = await economize(frames);
    expect(kept.map(({ frames }) => frames)).toEqual([20, 7, 1]);
    expect(kept.map(({ scene }) => scene)).toEqual([0, 1, 2]);
    expect(kept[1]!.pixels).toEqual(frames[20]!.pixels);
  });

  it("does not lose a slow change, which is no cut", async () => {
    const kept = await economize(video(Array.from({ length: 60 }, (_, i) => 40 + i)), { sameBelow: 4 });
    expect(kept.map(({ frames }) => frames)).toEqual(repeat(5, 12));
    expect(kept.every(({ scene }) => scene === 0)).toBe(true);
  });

  it("sees no cuts where every frame is another", async () => {
    const frames = video(repeat(0, 30)).map((frame, i) => ({ ...frame, ...noise(40, 30, i + 1) }));
    const kept = await economize(frames, { cutFrom: 1 });
    expect(kept).toHaveLength(30);
    // The first changes have nothing to stand out from.
    expect(kept.at(-1)!.scene).toBeLessThanOrEqual(2);
  });

  it("keeps a frame after the longest time", async () => {
    const kept = await economize(video(repeat(9, 100)), { maxSeconds: 1 });
    expect(kept.length).toBe(4);
    for (const { start, end } of kept) expect(end - start).toBeLessThan(1.1);
  });

  it("stays within a budget over any time", async () => {
    const rng = random(3);
    const kept = await economize(video(Array.from({ length: 200 }, () => Math.floor(rng() * 250))), { budget: 5 });
    for (const [i, { start }] of kept.entries()) {
      for (let j = i + 1; j < kept.length; j++) expect(j - i).toBeLessThanOrEqual((kept[j]!.start - start) * 5 + 1.001);
    }
    expect(kept.length).toBeGreaterThan(30);
  });

  it("merges a run to its mean", async () => {
    const kept = await economize(video([10, 11, 12, 11]), { mode: "merge" });
    expect(kept).toHaveLength(1);
    expect(kept[0]!.pixels.every((v) => v === 11)).toBe(true);
  });

  it("takes a change of size, one frame, and none", async () => {
    const [a, b] = video([10, 10]);
    const small = { ...b!, ...noise(4, 3) };
    expect(await economize([a!, small])).toHaveLength(2);
    expect(await economize([a!])).toHaveLength(1);
    expect(await economize([])).toHaveLength(0);
  });

  it("refuses options that are none, and stops", async () => {
    await expect(economize(video([1]), { sameBelow: -1 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(economize(video([1]), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("the token economy", () => {
  const moment = (rows: number[][], i: number) => ({
    features: Float32Array.from(rows.flat()),
    tokens: rows.length,
    dim: rows[0]!.length,
    start: i / 10,
    end: (i + 1) / 10,
  });
  const run = async (moments: number[][][], options = {}) => {
    const kept = [];
    for await (const { features, ...rest } of economizeTokens(each(moments.map(moment)), options)) {
      kept.push({ features: [...features], ...rest });
    }
    return kept;
  };

  it("keeps a token where its place changes, with the time of its run", async () => {
    const [still, left, right] = [
      [1, 1],
      [1, 0],
      [0, 1],
    ];
    const kept = await run([
      [still, left],
      [[2, 2], left],
      [still, right],
    ]);
    expect(kept).toEqual([
      { features: left, place: 1, start: 0, end: 0.2, moments: 2 },
      { features: still, place: 0, start: 0, end: 0.3, moments: 3 },
      { features: right, place: 1, start: 0.2, end: 0.3, moments: 1 },
    ]);
  });

  it("covers every place at every moment, also when their number changes", async () => {
    const rng = random(8);
    const moments = Array.from({ length: 50 }, (_, i) =>
      Array.from({ length: i < 30 ? 3 : 5 }, () => [rng() - 0.5, rng() - 0.5]),
    );
    const kept = await run(moments, { similarity: 0.5, maxSeconds: 0.35 });
    expect(kept.reduce((sum, { moments }) => sum + moments, 0)).toBe(30 * 3 + 20 * 5);
    for (const { start, end, moments } of kept) expect(end - start).toBeCloseTo(moments / 10, 9);
    expect(Math.max(...kept.map(({ moments }) => moments))).toBeLessThanOrEqual(4);
  });
});
