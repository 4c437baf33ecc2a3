import { createReadStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { audio, type Encoder, encodeFile, loadEncoder, type Source, subtitles, text, video } from "krait";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, tiny } from "../../../test/fixtures.js";

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
