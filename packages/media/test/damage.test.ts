import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decode, probe } from "../src/index.js";
import { collect, decoded, expectCode, expectRejection, ffmpeg, frameTimes, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const audio = { sampleRate: 16000 } as const;
const all = { video: { sampling: "all", width: 32, height: 24, fit: "stretch" }, audio } as const;
const clip =
  "-f lavfi -i testsrc2=size=160x120:rate=25:duration=10 -f lavfi -i sine=duration=10 -c:v libx264 -g 25 -c:a aac";

function cut(path: string, share: number, name: string): string {
  const bytes = readFileSync(path);
  writeFileSync(at(name), bytes.subarray(0, Math.floor(bytes.length * share)));
  return at(name);
}

describe("truncated files", () => {
  test("an mp4 without its index is refused", async () => {
    const whole = await ffmpeg(clip, at("whole.mp4"));
    const path = cut(whole, 0.6, "no-index.mp4");
    await expectRejection(probe(path), "MEDIA_TRUNCATED");
    expectCode((await collect(decode(path, all))).error, "MEDIA_TRUNCATED");
  });

  test.each([
    ["mp4", `${clip} -movflags +faststart`],
    ["mkv", clip],
  ])("an %s cut in its middle yields what is there, then throws", async (extension, args) => {
    const whole = await ffmpeg(args, at(`front.${extension}`));
    const path = cut(whole, 0.5, `half.${extension}`);
    const result = await collect(decode(path, all));
    expectCode(result.error, "MEDIA_TRUNCATED");
    expect(result.video.length).toBeGreaterThan(50);
    expect(result.video.length).toBeLessThan(200);
    expect(result.audio.length).toBeGreaterThan(20);
    const times = await frameTimes(whole);
    // At the cut a frame may be missing, but none has a time of its own making.
    for (const frame of result.video) expect(times.some((time) => Math.abs(time - frame.start) < 1e-5)).toBe(true);
  });

  test("a few bytes of an mp4", async () => {
    const path = cut(await ffmpeg(clip, at("whole.mp4")), 0.0005, "start.mp4");
    await expectRejection(probe(path), "MEDIA_TRUNCATED");
  });
});

describe("damaged data", () => {
  test("only corrupt packets: an error, not an empty result", async () => {
    const path = await ffmpeg(
      "-f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -c:v libx264 -movflags +faststart",
      at("v.mp4"),
    );
    const bytes = readFileSync(path);
    const data = bytes.indexOf("mdat", 0, "latin1") + 4;
    bytes.fill(0, data);
    writeFileSync(at("zeroed.mp4"), bytes);
    const result = await collect(decode(at("zeroed.mp4"), { video: all.video }));
    expectCode(result.error, "MEDIA_INVALID");
    expect(result.parts).toHaveLength(0);
  });

  test("some corrupt packets are survived", async () => {
    const path = await ffmpeg(`${clip} -movflags +faststart`, at("some.mp4"));
    const bytes = readFileSync(path);
    const from = Math.floor(bytes.length * 0.6);
    bytes.fill(0x55, from, from + 3000);
    writeFileSync(at("some-bad.mp4"), bytes);
    const result = await decoded(decode(at("some-bad.mp4"), all));
    expect(result.video.length).toBeGreaterThan(150);
    const starts = result.video.map((frame) => frame.start);
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
  });

  test("a size that changes mid-stream keeps the asked size and the times", async () => {
    const a = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -c:v mpeg2video -f mpegts", at("a.ts"));
    const b = await ffmpeg(
      "-f lavfi -i testsrc2=size=128x96:rate=25:duration=1 -c:v mpeg2video -output_ts_offset 1 -f mpegts",
      at("b.ts"),
    );
    writeFileSync(at("both.ts"), Buffer.concat([readFileSync(a), readFileSync(b)]));
    const { video } = await decoded(decode(at("both.ts"), { video: { ...all.video, sampling: { fps: 5 } } }));
    expect(video).toHaveLength(10);
    for (const frame of video) expect(frame.pixels).toHaveLength(32 * 24 * 3);
    for (const [i, frame] of video.entries()) expect(frame.start - video[0]!.start).toBeCloseTo(i / 5, 1);
  });

  test("a stream whose clock starts again is an error, not lost sound", async () => {
    const part = await ffmpeg("-f lavfi -i sine=duration=30 -c:a mp2 -f mpegts", at("part.ts"));
    const bytes = readFileSync(part);
    writeFileSync(at("twice.ts"), Buffer.concat([bytes, bytes]));
    const { error, audio: parts } = await collect(decode(at("twice.ts"), { audio }));
    expectCode(error, "MEDIA_TIMES_INVALID");
    expect(parts.length).toBeGreaterThan(290);
  });

  test("samples that are not numbers", async () => {
    const path = await ffmpeg("-f lavfi -i sine=duration=1:sample_rate=16000 -c:a pcm_f32le", at("nan.mkv"));
    const bytes = readFileSync(path);
    bytes.writeFloatLE(Number.NaN, bytes.length - 4000 - ((bytes.length - 4000) % 4));
    bytes.fill(0xff, bytes.length - 8000, bytes.length - 6000);
    writeFileSync(at("nan.mkv"), bytes);
    expectCode((await collect(decode(at("nan.mkv"), { audio }))).error, "SAMPLES_NOT_FINITE");
  });
});

describe("streams that are not there", () => {
  test("no video, no audio, cover art", async () => {
    const sound = await ffmpeg("-f lavfi -i sine=duration=1 -c:a libmp3lame", at("plain.mp3"));
    expectCode((await collect(decode(sound, all))).error, "MEDIA_NO_VIDEO");
    const silent = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=5:duration=1", at("silent.mp4"));
    expectCode((await collect(decode(silent, all))).error, "MEDIA_NO_AUDIO");
    await ffmpeg("-f lavfi -i testsrc2=size=64x48 -frames:v 1", at("cover.png"));
    const cover = await ffmpeg(
      `-i ${sound} -i ${at("cover.png")} -map 0 -map 1 -c copy -disposition:v attached_pic`,
      at("cover.mp3"),
    );
    expect((await probe(cover)).streams.map(({ kind, attachedPicture }) => [kind, attachedPicture])).toEqual([
      ["audio", undefined],
      ["image", true],
    ]);
    expectCode((await collect(decode(cover, { video: all.video }))).error, "MEDIA_NO_VIDEO");
    expect((await decoded(decode(cover, { audio }))).audio.length).toBeGreaterThan(8);
  });
});

describe("limits", () => {
  test("frames that outgrow the limit mid-stream are not decoded", async () => {
    const encode = (size: string, offset: number, name: string) =>
      ffmpeg(
        `-f lavfi -i testsrc2=size=${size}:rate=25:duration=1 -c:v mpeg2video -output_ts_offset ${offset} -f mpegts`,
        at(name),
      );
    const small = readFileSync(await encode("64x48", 0, "small.ts"));
    // Long enough that the description, made from the beginning of the file, does not see the change.
    const padding = readFileSync(await encode("64x48", 1, "padding.ts"));
    const large = readFileSync(await encode("1280x720", 2, "large.ts"));
    writeFileSync(at("grows.ts"), Buffer.concat([small, padding, large]));
    const { error, video } = await collect(decode(at("grows.ts"), { video: all.video, limits: { maxPixels: 10_000 } }));
    expectCode(error, "MEDIA_TOO_LARGE");
    expect(video.length).toBeLessThanOrEqual(50);
  });

  test("pixels, duration, channels and streams", async () => {
    const path = await ffmpeg(clip, at("limits.mp4"));
    const code = async (limits: object, expected: string) =>
      expectCode((await collect(decode(path, { ...all, limits }))).error, expected);
    await code({ maxPixels: 1000 }, "MEDIA_TOO_LARGE");
    await code({ maxDurationSeconds: 5 }, "MEDIA_TOO_LONG");
    await code({ maxStreams: 1 }, "MEDIA_TOO_MANY_STREAMS");
    const surround = await ffmpeg("-f lavfi -i anullsrc=channel_layout=7.1 -t 1 -c:a flac", at("surround.mkv"));
    const { error } = await collect(decode(surround, { audio, limits: { maxAudioChannels: 2 } }));
    expectCode(error, "MEDIA_TOO_MANY_CHANNELS");
    const part = await collect(decode(path, { ...all, end: 2, limits: { maxDurationSeconds: 5 } }));
    expect(part.error).toBeUndefined();
  });
});
