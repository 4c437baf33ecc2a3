import { Readable } from "node:stream";
import type { AudioPart, MediaInfo, MediaPart, MediaStream, VideoPart } from "@krait/media";
import { describe, expect, test } from "vitest";
import { keepsPace } from "../src/decoder-sharing.js";
import { pileUpHint } from "../src/pipeline.js";
import { audio, type VideoOptions, video } from "../src/sources.js";
import { splitMedia } from "../src/split-media.js";

const frame = (start: number): VideoPart => ({
  kind: "video",
  pixels: new Uint8Array(1000),
  width: 1,
  height: 1,
  start,
  end: start,
});
const sound = (start: number): AudioPart => ({
  kind: "audio",
  samples: new Float32Array(250),
  sampleRate: 16000,
  start,
});

function streamOf(parts: MediaPart[]): MediaStream & { pulled: number; closed: boolean } {
  let next = 0;
  const stream = {
    pulled: 0,
    closed: false,
    bufferedBytes: 0,
    close: async () => {
      stream.closed = true;
    },
    [Symbol.asyncDispose]: async () => {},
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        const value = parts[next++];
        if (value === undefined) return { done: true as const, value: undefined };
        stream.pulled++;
        return { done: false as const, value };
      },
    }),
  };
  return stream;
}

async function all<P>(parts: AsyncIterable<P>): Promise<P[]> {
  const list: P[] = [];
  for await (const part of parts) list.push(part);
  return list;
}

describe("splitMedia", () => {
  const mixed = [frame(0), sound(0), sound(1), frame(1), sound(2)];

  test("each reader gets its own parts in order, whoever reads first, and the stream ends with the last", async () => {
    const stream = streamOf(mixed);
    const lanes = splitMedia(stream);
    expect((await all(lanes.audio)).map((p) => p.start)).toEqual([0, 1, 2]);
    expect(stream.closed).toBe(false);
    expect((await all(lanes.video)).map((p) => p.start)).toEqual([0, 1]);
    expect(stream.closed).toBe(true);
  });

  test("a stream without a partner is refused before it fills the memory", async () => {
    const stream = streamOf([sound(0), ...Array.from({ length: 100 }, (_, i) => frame(i)), sound(100)]);
    await expect(all(splitMedia(stream, { maxBytes: 10_000 }).audio)).rejects.toMatchObject({
      code: "MEDIA_INTERLEAVING",
    });
    expect(stream.pulled).toBe(12);
  });

  test("a stream behind a gate for speech, which nothing reads twice, is told what helps", async () => {
    const gated = audio("talk.mkv", { speech: { model: "silero_vad.onnx" } });
    const piped = pileUpHint({ input: Readable.from([]), audio: { source: gated, index: 0 } });
    const pile = () => streamOf(Array.from({ length: 100 }, (_, i) => frame(i)));
    await expect(all(splitMedia(pile(), { maxBytes: 10_000, ...piped }).audio)).rejects.toMatchObject({
      code: "MEDIA_INTERLEAVING",
      hint: expect.stringContaining("write it to a file"),
    });
    // Of a file and of sound without a gate the common hint is true.
    expect(pileUpHint({ input: "talk.mkv", audio: { source: gated, index: 0 } })).toEqual({});
    expect(pileUpHint({ input: "-", audio: { source: audio("talk.mkv"), index: 0 } })).toEqual({});
    expect(pileUpHint({ input: "-", audio: { source: gated, index: 0 } })).toEqual(piped);
  });

  test("what was read or left no longer counts", async () => {
    const parts = Array.from({ length: 100 }, (_, i) => [frame(i), sound(i)]).flat();
    const [read, left] = [
      splitMedia(streamOf(parts), { maxBytes: 3000 }),
      splitMedia(streamOf(parts), { maxBytes: 3000 }),
    ];
    const frames = read.video[Symbol.asyncIterator]();
    for await (const _ of read.audio) await frames.next();
    const leaving = left.video[Symbol.asyncIterator]();
    await leaving.next();
    await leaving.return?.();
    expect(await all(left.audio)).toHaveLength(100);
  });
});

describe("keepsPace", () => {
  const info = (pictures: [number, number], tone: [number, number]): MediaInfo => ({
    path: "/clip.mkv",
    container: "matroska",
    bytes: 1,
    durationSeconds: 3600,
    streams: [
      { index: 0, kind: "video", codec: "h264", startSeconds: pictures[0], durationSeconds: pictures[1] },
      { index: 1, kind: "audio", codec: "aac", startSeconds: tone[0], durationSeconds: tone[1] },
    ],
  });
  const judge = (file: MediaInfo, options: VideoOptions = {}) => {
    const { start, end } = options;
    const range = { ...(start !== undefined && { start }), ...(end !== undefined && { end }) };
    return keepsPace(file, video(file.path, options), audio(file.path, range), 2);
  };

  test.each<[string, boolean, MediaInfo, VideoOptions]>([
    ["streams of one length", true, info([0, 3600], [0, 3590]), {}],
    ["sound that ends early", false, info([0, 3600], [0, 60]), {}],
    ["pictures that end early", false, info([0, 60], [0, 3600]), {}],
    ["sound that begins late", false, info([0, 3600], [600, 3000]), {}],
    ["sound that ends early, after the range", true, info([0, 3600], [0, 60]), { end: 50 }],
    ["a range behind the sound", false, info([0, 3600], [0, 60]), { start: 30 }],
    ["a frame a minute", false, info([0, 3600], [0, 3600]), { fps: 1 / 60 }],
    ["a frame per second", true, info([0, 3600], [0, 3600]), { fps: 1 }],
    ["ten frames of an hour", false, info([0, 3600], [0, 3600]), { count: 10 }],
    ["ten frames of ten seconds", true, info([0, 3600], [0, 3600]), { count: 10, end: 10 }],
  ])("%s: %s", (_, expected, file, options) => {
    expect(judge(file, options)).toBe(expected);
  });
});
