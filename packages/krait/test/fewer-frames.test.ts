import { execFileSync } from "node:child_process";
import { openSafetensors } from "@krait/formats";
import { type Encoder, loadEncoder, tokenizeFile, video } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, tiny } from "../../../test/fixtures.js";

const at = folderOfTests();

/** Three slides, of 1, 2 and 1 second, at a rate whose periods are no round numbers; two tones beside them. */
function makeSlides(path: string): void {
  const slide = (colour: string, seconds: number) => [
    "-f",
    "lavfi",
    "-i",
    `color=${colour}:size=64x48:rate=30000/1001:duration=${seconds}`,
  ];
  const tone = (hertz: number) => ["-f", "lavfi", "-i", `sine=frequency=${hertz}:duration=4:sample_rate=16000`];
  const inputs = [...slide("red", 1), ...slide("blue", 2), ...slide("green", 1), ...tone(300), ...tone(3000)];
  const joined = ["-filter_complex", "[0][1][2]concat=n=3:v=1[v]", "-map", "[v]", "-map", "3", "-map", "4"];
  execFileSync("ffmpeg", ["-v", "error", ...inputs, ...joined, "-c:v", "ffv1", "-c:a", "pcm_s16le", path]);
}

async function rowsOf(options: Omit<Parameters<typeof tokenizeFile>[1], "out">) {
  const out = at("out.safetensors");
  await tokenizeFile(at("slides.mkv"), { ...options, out });
  await using file = await openSafetensors(out);
  const times = (await file.read("times")) as Float64Array;
  const spans = Array.from({ length: times.length / 2 }, (_, i) => [times[2 * i]!, times[2 * i + 1]!] as const);
  return { features: await file.readFloat32("features"), spans };
}

describe("near-duplicate frames", () => {
  beforeAll(() => makeSlides(at("slides.mkv")));

  it.each(["drop", "merge"] as const)("are one row with the times of all of them (%s)", async (mode) => {
    const all = await rowsOf({ preset: "siglip", size: 8 });
    const few = await rowsOf({ preset: "siglip", size: 8, economy: { mode } });
    // A slide's frames that are there have the container's times; the slides' rows must begin and end with theirs.
    const cuts = [1, 3].map((seconds) => all.spans.findIndex(([start]) => start > seconds - 0.02));
    const [a, b] = cuts as [number, number];
    const slides = [
      [0, a],
      [a, b],
      [b, all.spans.length],
    ] as const;
    expect(few.spans).toEqual(slides.map(([from, to]) => [all.spans[from]![0], all.spans[to - 1]![1]]));
    const row = (features: Float32Array, i: number) => features.subarray(i * 192, (i + 1) * 192);
    for (const [i, [from]] of slides.entries()) expect(row(few.features, i)).toEqual(row(all.features, from));
  });

  it("are kept after a while, and others left out beyond the budget", async () => {
    const { spans } = await rowsOf({ preset: "vit", size: 8, economy: { maxSeconds: 0.5 } });
    expect(spans.length).toBeGreaterThan(7);
    for (const [start, end] of spans) expect(end - start).toBeLessThan(0.5 + 0.04);
    expect((await rowsOf({ preset: "vit", size: 8, economy: { budget: 0.25 } })).spans).toHaveLength(1);
  });

  it("are no option of sound, and which stream is none of text", async () => {
    for (const wrong of [
      { preset: "mel-80", economy: {} },
      { preset: "bytes", stream: 0 },
      { preset: "clip", economy: { mode: "blend" } },
    ]) {
      await expect(rowsOf(wrong as Parameters<typeof rowsOf>[0])).rejects.toMatchObject({ code: "INVALID_OPTION" });
    }
  });

  it.skipIf(!built)("leave the choice of a stream to the caller", async () => {
    const centre = async (stream?: number) => {
      const { features } = await rowsOf({ preset: "mel-80", ...(stream !== undefined && { stream }) });
      const row = features.subarray(100 * 80, 101 * 80);
      return row.indexOf(Math.max(...row));
    };
    expect(await centre(2)).toBeGreaterThan((await centre(1)) + 20);
    expect(await centre()).toBe(await centre(1));
    await expect(centre(0)).rejects.toMatchObject({ code: "MEDIA_NO_AUDIO" });
  });

  describe.skipIf(!built)("of an encoder's source", () => {
    let encoder: Encoder;
    beforeAll(async () => {
      encoder = await loadEncoder(tiny, { device: "cpu" });
    });
    afterAll(() => encoder.close());

    it("make tubelets of slides", async () => {
      const of = async (options: Parameters<typeof video>[1]) => {
        const { tokens } = await encoder.encode([video(at("slides.mkv"), options)]);
        const blocks = tokens.filter(({ modality }) => modality === "video");
        return [...new Set(blocks.map(({ start, end }) => `${start.toFixed(2)} ${end.toFixed(2)}`))];
      };
      expect((await of({ fps: 10 })).length).toBe(20);
      // Two slides are a tubelet; the last one fills its own, whose last frame lasts one period of the file.
      expect(await of({ fps: 10, economy: {} })).toEqual(["0.00 3.00", "3.00 3.94"]);
    });
  });
});
