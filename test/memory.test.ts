import { execFileSync } from "node:child_process";
import { audio, type Encoder, image, loadEncoder, type Source, text, video } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, collectGarbage, folderOfTests, makeClip, tiny } from "./fixtures.js";

const at = folderOfTests();

describe.skipIf(!built)("memory", () => {
  let encoder: Encoder;
  beforeAll(async () => {
    encoder = await loadEncoder(tiny, { device: "cpu", chunkTokens: 64 });
    makeClip(at("clip.mp4"), { seconds: 2 });
    execFileSync("ffmpeg", ["-v", "error", "-i", at("clip.mp4"), "-vn", at("sound.wav")]);
    execFileSync("ffmpeg", ["-v", "error", "-i", at("clip.mp4"), "-frames:v", "1", at("picture.png")]);
  });
  afterAll(() => encoder.close());

  /** Most go without ffmpeg, whose two processes take most of the time. */
  const sources = (round: number): Source[] =>
    round % 5 === 0
      ? [text("words"), video(at("clip.mp4"), { fps: 5 }), audio(at("clip.mp4"))]
      : [text("words ".repeat(50)), image(at("picture.png")), audio(at("sound.wav"))];

  it("does not grow from the 50th to the 200th encode", { timeout: 120_000 }, async () => {
    const resident: number[] = [];
    for (let round = 1; round <= 200; round++) {
      const { tokens } = await encoder.encode(sources(round));
      expect(tokens.length).toBeGreaterThan(30);
      if (round % 50 > 0) continue;
      await collectGarbage();
      resident.push(process.memoryUsage().rss / 2 ** 20);
    }
    // The log-mel frames of each are 64 KB: if nothing but they stayed, 150 encodes would leave 10 MB.
    expect(resident[3]! - resident[0]!).toBeLessThan(8);
  });

  it("does not grow with the encoders that were loaded and closed", { timeout: 120_000 }, async () => {
    const cycle = async (rounds: number) => {
      for (let i = 0; i < rounds; i++) {
        const other = await loadEncoder({ seed: i, config: wide }, { device: "cpu", chunkTokens: 256 });
        await other.encode([text("words")]);
        await other.close();
      }
      await collectGarbage();
      return process.memoryUsage().rss / 2 ** 20;
    };
    const before = await cycle(4);
    // The weights and the arena of each are above 4 MB.
    const after = await cycle(16);
    expect(after - before).toBeLessThan(24);
  });

  const wide = {
    model_type: "krait_encoder",
    version: 1,
    inputs: { text: {} },
    stack: { width: 256, layout: "M2 M2", mamba2: { headDim: 64, stateSize: 16 } },
  };
});
