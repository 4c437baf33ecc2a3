import { execFileSync } from "node:child_process";
import { audio, estimate, loadEncoder, type Source, text, video } from "krait";
import { describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, tiny, tinyConfig } from "../../../test/fixtures.js";

const at = folderOfTests();
const words = text("Some words.");

describe("estimate()", () => {
  it("adds up memory that falls with the chunk and does not grow with the input", async () => {
    const one = await estimate(tiny, [words]);
    const { memory, peakBytes } = one;
    expect(one).toMatchObject({ tokens: 11, exact: true, seconds: 0 });
    expect(memory.decoder).toBe(0);
    expect(Object.values({ ...memory, decoder: 1 }).every((bytes) => bytes > 0)).toBe(true);
    expect(Object.values(memory).reduce((a, b) => a + b)).toBe(peakBytes);
    expect((await estimate(tiny, [text("long ".repeat(1e5))])).peakBytes).toBe(peakBytes);
    const small = await estimate(tiny, [words], { chunkTokens: 64 });
    expect(small.memory.arena).toBeLessThan(memory.arena / 4);
    const halved = await estimate(tiny, [words], { dtype: "bf16" });
    expect(halved.memory.weights).toBeLessThan(memory.weights);
    expect((await estimate(tiny, [words], { slots: 8 })).memory.states).toBe(2 * memory.states);
  });

  it("counts a decoder for each file that needs one, by its size and threads", async () => {
    const [small, large] = [
      makeClip(at("small.mp4"), { seconds: 1 }),
      makeClip(at("large.mp4"), { seconds: 1, size: "640x480" }),
    ];
    const decoder = async (sources: Source[], threads = 1) =>
      (await estimate(tiny, sources, { threads })).memory.decoder;
    const one = await decoder([video(small)]);
    expect(one).toBeGreaterThan(0);
    expect(await decoder([video(small), audio(small)])).toBe(one);
    expect(await decoder([video(small), audio(small, { start: 0.5 })])).toBeGreaterThan(1.9 * one);
    const [narrow, wide] = [await decoder([video(large)]), await decoder([video(large)], 3)];
    expect(narrow).toBeGreaterThan(one);
    // Four frames more.
    expect(wide - narrow).toBeGreaterThanOrEqual(4 * 640 * 480 * 1.5);
    execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-i", small, "-vn", at("sound.wav")]);
    expect(await decoder([audio(at("sound.wav"))])).toBe(0);
  });

  it("sets a state that stays beside keys and values that grow", async () => {
    const { comparison, memory } = await estimate(tiny, [words], { compare: "attention" });
    expect(comparison!.map(({ tokens }) => tokens)).toEqual([10, 12, 14, 16, 18, 20].map((p) => 2 ** p));
    for (const { tokens, stateBytes, keyValueBytes } of comparison!) {
      expect(stateBytes).toBe(memory.states / 4);
      // Three layers, keys and values, one key head of 16 numbers in f32.
      expect(keyValueBytes).toBe(tokens * 3 * 2 * 16 * 4);
    }
    const bf16 = await estimate(tiny, [words], { compare: "attention", dtype: "bf16" });
    expect(bf16.comparison![0]!.keyValueBytes).toBe(comparison![0]!.keyValueBytes / 2);
  });

  it("counts keys and values of full attention for the tokens there are, or for as many as are asked for", async () => {
    const config = {
      ...tinyConfig,
      stack: { ...tinyConfig.stack, attention: { heads: 2, keyHeads: 1, window: "full" } },
    };
    const full = { seed: 5, config };
    // A page of 64 tokens, keys and values of one head of 16 numbers in f32, four slots.
    const page = 64 * 2 * 16 * 4 * 4;
    const short = (await estimate(full, [words])).memory.states;
    expect((await estimate(full, [text("x".repeat(65))])).memory.states).toBe(short + page);
    expect((await estimate(full, [words], { maxTokens: 640 })).memory.states).toBe(short + 9 * page);
    const { comparison } = await estimate(full, [words], { compare: "attention" });
    const [a, b] = [comparison![0]!, comparison![5]!];
    expect(b.stateBytes - a.stateBytes).toBe((b.tokens - a.tokens) * 2 * 16 * 4);
  });

  it("refuses what it does not know", async () => {
    await expect(estimate(tiny, [])).rejects.toMatchObject({ code: "NO_SOURCES" });
    const compare = { compare: "recurrence" as "attention" };
    await expect(estimate(tiny, [words], compare)).rejects.toMatchObject({ code: "INVALID_OPTION", kind: "usage" });
    await expect(estimate(at("none"), [words])).rejects.toMatchObject({ kind: "input" });
  });

  it.skipIf(!built)("counts tokens and seconds as the encoder does", async () => {
    const clip = makeClip(at("clip.mp4"), { seconds: 4 });
    const sources = [video(clip, { fps: 5 })];
    const told = await estimate(tiny, sources);
    const encoder = await loadEncoder(tiny, { device: "cpu" });
    try {
      const { tokens, seconds } = await encoder.predict(sources);
      expect(told).toMatchObject({ tokens, seconds });
      expect((await encoder.encode(sources)).tokens).toHaveLength(tokens);
    } finally {
      await encoder.close();
    }
  });
});
