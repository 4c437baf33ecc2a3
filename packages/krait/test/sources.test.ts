import { execFileSync } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { audio, type Encoder, encodeFile, loadEncoder, type Source, subtitles, text, video } from "krait";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, relativeRms, tiny, tinyConfig } from "../../../test/fixtures.js";

const at = folderOfTests();

describe.skipIf(!built)("sources", () => {
  let clip = "";
  let encoder: Encoder;
  beforeAll(async () => {
    clip = makeClip(at("clip.mkv"), { seconds: 6 });
    encoder = await loadEncoder(tiny, { device: "cpu" });
  });
  afterAll(() => encoder.close());
  const stream = () => createReadStream(clip);

  it("that are streams give what files give, counted beforehand or not", async () => {
    const whole = await encoder.encode([video(clip), audio(clip), text("Who?")]);
    const one = stream();
    const sources = [video(one), audio(one), text(Readable.from(["Who", "?"]))];
    const { byModality } = await encoder.predict(sources);
    expect(byModality.text).toBe(4);
    expect(await encoder.encode(sources)).toEqual(whole);
    await expect(encoder.encode(sources)).rejects.toMatchObject({ code: "STREAM_CONSUMED" });
    const job = { out: at("stream.safetensors"), page: at("stream.html"), resume: true };
    await expect(encodeFile(encoder, [video(stream())], job)).rejects.toMatchObject({ code: "RESUME_STREAM" });
    const other = stream();
    const result = await encodeFile(encoder, [video(other), audio(other), text("Who?")], { ...job, resume: false });
    expect(result.tokens).toBe(whole.tokens.length);
  });

  it("that are subtitles stand at their times, as many as were counted", async () => {
    const lines = ["1", "00:00:02,500 --> 00:00:04,000", "be", "", "2", "00:00:00,500 --> 00:00:05,000", "to"];
    await writeFile(at("lines.srt"), lines.join("\n"));
    const timed = async (of: Source[]) => {
      const { tokens } = await encoder.encode(of);
      expect(tokens).toHaveLength((await encoder.predict(of)).tokens);
      return tokens.filter(({ modality }) => modality === "text").map(({ start, end }) => [start, end]);
    };
    const both = [...Array(2).fill([0.5, 5]), ...Array(2).fill([2.5, 4])];
    expect(await timed([video(clip), subtitles(at("lines.srt"))])).toEqual(both);
    expect(await timed([subtitles(at("lines.srt"), { start: 1, offset: 10 })])).toEqual(Array(2).fill([12.5, 14]));
    const job = { out: at("lines.safetensors"), page: at("lines.html") };
    expect((await encodeFile(encoder, [subtitles(at("lines.srt"))], job)).byModality.text).toBe(4);
  });

  it("are moved, cut and sampled as asked, and counted so", async () => {
    const frames = async (of: Source) => {
      const { tokens } = await encoder.encode([of]);
      return [...new Set(tokens.filter(({ modality }) => modality === "video").map(({ start }) => start))];
    };
    expect(await frames(video(clip, { fps: 1, start: 2, duration: 3, offset: 100 }))).toEqual([102, 104]);
    expect(await frames(video(clip, { times: [0.55, 3.31, 5, 1] }))).toEqual([0.5, 3.3]);
    const key = await frames(video(clip, { keyFrames: true }));
    expect(key.length).toBeGreaterThan(0);
    const options = { times: [0.55, 3.31, 5, 1] };
    expect((await encoder.predict([video(clip, options)])).byModality.video).toBe(8);
    const sound = await encoder.encode([audio(clip, { start: 1, duration: 2, offset: -1 })]);
    expect(sound.tokens[0]!.start).toBeCloseTo(0, 9);
    expect(sound.tokens.at(-1)!.end).toBeCloseTo(2, 9);
    for (const bad of [{ fps: 1, times: [1] }, { end: 3, duration: 1 }, { times: [] }, { keyFrames: true, count: 2 }])
      expect(() => video(clip, bad), JSON.stringify(bad)).toThrow(/Expected/);
  });

  it("are the streams of a file that were asked for", async () => {
    const two = at("two.mkv");
    const colours = ["red", "blue"].flatMap((c) => ["-f", "lavfi", "-i", `color=${c}:size=64x48:rate=5:duration=2`]);
    const tones = [220, 1760].flatMap((f) => ["-f", "lavfi", "-i", `sine=frequency=${f}:sample_rate=16000:duration=2`]);
    const maps = [0, 1, 2, 3].flatMap((i) => ["-map", String(i)]);
    const codecs = ["-c:v", "mpeg4", "-c:a", "pcm_s16le"];
    execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...colours, ...tones, ...maps, ...codecs, two]);
    const encode = async (pictures: number | undefined, sound: number | undefined) => {
      const chosen = (stream: number | undefined) => (stream === undefined ? {} : { stream });
      return (await encoder.encode([video(two, chosen(pictures)), audio(two, chosen(sound))])).data;
    };
    const first = await encode(0, 2);
    expect(await encode(undefined, undefined)).toEqual(first);
    expect(relativeRms(await encode(1, 2), first)).toBeGreaterThan(0.01);
    expect(relativeRms(await encode(0, 3), first)).toBeGreaterThan(0.01);
    await expect(encode(2, 3)).rejects.toMatchObject({ kind: "input" });
    await expect(encode(9, 3)).rejects.toMatchObject({ kind: "input" });
  });

  it("go place by place through a window in temporal order, in chunks of any size, as many as were counted", async () => {
    const config = { ...tinyConfig, sequence: { order: "temporal" } } as const;
    const run = async (chunkTokens: number) => {
      const temporal = await loadEncoder({ seed: 5, config }, { device: "cpu", chunkTokens });
      try {
        const of = [video(clip, { fps: 5 }), audio(clip)];
        const features = await temporal.encode(of);
        expect(features.tokens).toHaveLength((await temporal.predict(of)).tokens);
        await expect(temporal.encode(of, { pool: "frame" })).rejects.toMatchObject({ code: "POOL_ORDER" });
        return features;
      } finally {
        await temporal.close();
      }
    };
    const whole = await run(4096);
    const window = whole.tokens.filter(({ modality, start }) => modality === "video" && start < 2);
    const sorted = [...window].sort((a, b) => a.row - b.row || a.column - b.column || a.start - b.start);
    expect(window).toEqual(sorted);
    expect(new Set(window.map(({ start }) => start)).size).toBe(5);
    const spatial = await encoder.encode([video(clip, { fps: 5 }), audio(clip)]);
    expect(spatial.tokens).not.toEqual(whole.tokens);
    // Room for three tubelets in a run, and for two.
    for (const chunkTokens of [7, 1]) {
      const cut = await run(chunkTokens);
      expect(cut.tokens).toEqual(whole.tokens);
      expect(relativeRms(cut.data, whole.data)).toBeLessThan(1e-4);
    }
  });

  it("that are folders of images are videos at the rate asked for", async () => {
    await mkdir(at("shots"));
    for (const i of [1, 2, 10]) {
      const create = { width: 20, height: 20, channels: 3, background: { r: 20 * i, g: 0, b: 0 } } as const;
      await sharp({ create }).toFile(at(`shots/${i}.png`));
    }
    const of = [video(at("shots"), { fps: 4 })];
    const { tokens } = await encoder.encode(of);
    expect([...new Set(tokens.map(({ start, end }) => `${start} ${end}`))]).toEqual(["0 0.5", "0.5 0.75"]);
    expect(tokens).toHaveLength((await encoder.predict(of)).tokens);
  });
});
