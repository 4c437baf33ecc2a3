import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { PassThrough, Readable } from "node:stream";
import { beforeAll, describe, expect, test } from "vitest";
import { decode, probe } from "../src/index.js";
import { collect, decoded, expectCode, expectRejection, ffmpeg, joinAudio, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const video = { sampling: { fps: 5 }, width: 32, height: 24 } as const;
const audio = { sampleRate: 16000 } as const;
const limits = { stallSeconds: 1 };

beforeAll(async () => {
  const inputs = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=6 -f lavfi -i sine=d=6";
  await ffmpeg(`${inputs} -c:v libx264 -g 25 -c:a aac`, at("clip.mkv"));
  await ffmpeg(`-i ${at("clip.mkv")} -c copy`, at("late.mp4"));
  await ffmpeg("-f lavfi -i sine=d=2", at("tone.wav"));
  await ffmpeg("-f lavfi -i testsrc2=size=40x30 -frames:v 1", at("still.png"));
});

/** A stream that hands on what a file holds in small pieces, and then what `end` does. */
async function pieces(path: string, end: (stream: PassThrough) => void, bytes = Number.POSITIVE_INFINITY) {
  const stream = new PassThrough();
  const content = (await readFile(path)).subarray(0, bytes);
  for (let i = 0; i < content.length; i += 1000) stream.write(content.subarray(i, i + 1000));
  end(stream);
  return stream;
}

describe("a stream as a source", () => {
  test("gives what the file gives, however it is cut and of whatever kind", async () => {
    const whole = await decoded(decode(at("clip.mkv"), { video, audio }));
    const content = await readFile(at("clip.mkv"));
    async function* cut() {
      for (let i = 0; i < content.length; i += 777) yield content.subarray(i, i + 777);
    }
    const streams = [createReadStream(at("clip.mkv")), Readable.toWeb(createReadStream(at("clip.mkv"))), cut()];
    for (const stream of streams) {
      const info = await probe(stream as Readable);
      expect(info.streams.map((s) => s.kind)).toEqual(["video", "audio"]);
      const piped = await decoded(decode(stream as Readable, { video, audio }));
      expect(piped.video).toEqual(whole.video);
      expect(joinAudio(piped.audio)).toEqual(joinAudio(whole.audio));
    }
    const sound = await decoded(decode(createReadStream(at("tone.wav")), { audio }));
    expect(joinAudio(sound.audio).samples.length).toBe(32000);
    const still = await decoded(decode(createReadStream(at("still.png")), { video: { sampling: "all" } }));
    expect(still.video).toEqual((await decoded(decode(at("still.png"), { video: { sampling: "all" } }))).video);
  });

  test("is read from a range without seeking, and no further than needed", async () => {
    const range = { video, start: 2, end: 3 };
    const stream = createReadStream(at("clip.mkv"));
    const piped = await decoded(decode(stream, range));
    expect(piped.video).toEqual((await decoded(decode(at("clip.mkv"), range))).video);
    expect(stream.destroyed).toBe(true);
  });

  test("can be read once", async () => {
    const stream = createReadStream(at("clip.mkv"));
    await decoded(decode(stream, { video }));
    expectCode((await collect(decode(stream, { video }))).error, "STREAM_CONSUMED");
  });

  test("that never ends is decoded as it comes, and ends when it is left", async () => {
    const content = await readFile(at("clip.mkv"));
    let given = 0;
    async function* endless() {
      yield content;
      for (;;) {
        given++;
        yield new Uint8Array(2 ** 16);
      }
    }
    let frames = 0;
    for await (const _ of decode(Readable.from(endless()), { video })) if (++frames === 5) break;
    const after = given;
    expect(after).toBeLessThan(5000);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(given).toBe(after);
  });

  test("that stalls is given up, in its head and in its middle", async () => {
    const stalls = [() => pieces(at("clip.mkv"), () => {}, 0), () => pieces(at("clip.mkv"), () => {}, 60_000)];
    for (const make of stalls) {
      const begun = performance.now();
      const { error } = await collect(decode(await make(), { video, limits }));
      expectCode(error, "MEDIA_STALLED");
      expect(performance.now() - begun).toBeLessThan(15_000);
    }
  });

  test("that stalls can be cancelled at once", async () => {
    for (const bytes of [0, 60_000]) {
      const stream = await pieces(at("clip.mkv"), () => {}, bytes);
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 700);
      const begun = performance.now();
      const { error } = await collect(decode(stream, { video, signal: controller.signal }));
      expectCode(error, "ABORTED");
      expect(performance.now() - begun).toBeLessThan(5000);
    }
  });

  test("that breaks, is empty, is text, a playlist or no stream of bytes says so", async () => {
    const broken = await pieces(at("clip.mkv"), (s) => setTimeout(() => s.destroy(new Error("reset")), 50), 3000);
    expectCode((await collect(decode(broken, { video }))).error, "SOURCE_UNREADABLE");
    await expectRejection(probe(Readable.from([])), "SOURCE_EMPTY");
    await expectRejection(probe(Readable.from([Buffer.from("words and words")])), "MEDIA_INVALID");
    await expectRejection(probe(Readable.from([Buffer.from("#EXTM3U\nfile.ts\n")])), "SOURCE_IS_PLAYLIST");
    await expectRejection(probe(Readable.from([{ a: 1 }])), "INVALID_OPTION");
    const noise = Buffer.from(Uint32Array.from({ length: 20_000 }, (_, i) => Math.imul(i, 2654435761)).buffer);
    expectCode((await collect(decode(Readable.from([noise]), { video }))).error, "MEDIA_INVALID");
  });

  test("with its index at the end is refused, and never held whole", async () => {
    expectCode((await collect(decode(createReadStream(at("late.mp4")), { video }))).error, "MEDIA_NOT_STREAMABLE");
    // An mp4 that promises a gigabyte of media before its index.
    const ftyp = (await readFile(at("late.mp4"))).subarray(0, 32);
    const mdat = Buffer.from([0x3f, 0xff, 0xff, 0xff, ...Buffer.from("mdat")]);
    let given = 0;
    async function* long() {
      yield Buffer.concat([ftyp, mdat]);
      for (; given < 1000; given++) yield new Uint8Array(2 ** 18);
    }
    await expectRejection(probe(Readable.from(long())), "MEDIA_NOT_STREAMABLE");
    expect(given).toBeLessThan(200);
  });
});
