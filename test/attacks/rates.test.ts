import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder } from "../command.js";
import { ffmpeg, picture } from "./clip.js";
import { expectTokenizeRefusal, tokenizeStarts } from "./tokenize.js";
import { wavFile } from "./wav.js";

/** A number of a Matroska file, wherever it stands: an id, a length of eight, a double. */
function setDouble(path: string, id: string, value: number): void {
  const file = readFileSync(path);
  const at = file.indexOf(Buffer.from(`${id}88`, "hex"));
  expect(at).toBeGreaterThan(0);
  file.writeDoubleBE(value, at + id.length / 2 + 1);
  writeFileSync(path, file);
}

/** Three raw pictures under a header that tells this rate. */
function rawPictures(folder: string, rate: string): void {
  const frame = Buffer.concat([Buffer.from("FRAME\n"), Buffer.alloc((64 * 48 * 3) / 2, 90)]);
  const head = Buffer.from(`YUV4MPEG2 W64 H48 F${rate} Ip A1:1 C420jpeg\n`);
  writeFileSync(join(folder, "clip.y4m"), Buffer.concat([head, frame, frame, frame]));
}

describe.skipIf(!compiled)("pictures", () => {
  it("at 0/0 frames per second count as 25 per second", async () => {
    const folder = await emptyFolder();
    rawPictures(folder, "0:0");
    const starts = await tokenizeStarts(folder, "clip.y4m");
    expect(starts.map((start) => Math.round(100 * start))).toEqual([0, 4, 8]);
  });

  it("at a billion per second are those that differ in time", async () => {
    const folder = await emptyFolder();
    rawPictures(folder, "1000000000:1");
    const starts = await tokenizeStarts(folder, "clip.y4m");
    expect(starts[0]).toBe(0);
    for (const start of starts) expect(start).toBeLessThan(1e-6);
  });

  it("whose Matroska header says a billion per second keep the times of their blocks", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v mpeg4 clip.mkv`);
    const path = join(folder, "clip.mkv");
    const file = readFileSync(path);
    // DefaultDuration, nanoseconds.
    const at = file.indexOf(Buffer.from("23e383", "hex"));
    expect(at).toBeGreaterThan(0);
    const length = file[at + 3]! & 0x7f;
    file.writeUIntBE(1, at + 4, length);
    writeFileSync(path, file);
    const starts = await tokenizeStarts(folder, "clip.mkv");
    expect(starts).toHaveLength(25);
    starts.forEach((start, i) => {
      expect(start).toBeCloseTo(i / 25, 2);
    });
  });
});

describe.skipIf(!canEncode)("sound", () => {
  const whisper = (folder: string, file: string, code: string) =>
    expectTokenizeRefusal(folder, file, code, "whisper-80");

  it.each([0, 1, 4_000_000_000])("of a wav at %s Hz is refused", async (rate) => {
    const folder = await emptyFolder();
    writeFileSync(join(folder, "sound.wav"), wavFile({ rate }));
    await whisper(folder, "sound.wav", "MEDIA_INVALID");
  });

  it.each([4e9, Number.NaN])(
    "of a Matroska file at %s Hz counts as 8 kHz, at the times of its blocks",
    async (rate) => {
      const folder = await emptyFolder();
      ffmpeg(folder, "-f lavfi -i sine=d=1:sample_rate=16000 -c:a pcm_s16le sound.mkv");
      setDouble(join(folder, "sound.mkv"), "b5", rate);
      const starts = await tokenizeStarts(folder, "sound.mkv", "whisper-80");
      // A second of 16 kHz: the samples of each block are twice as many as have room before the next one.
      expect(starts.at(-1)).toBeGreaterThan(0.9);
      expect(starts.at(-1)).toBeLessThan(1.1);
    },
  );

  it.each([0, 1, 99])("of a Matroska file at %s Hz is refused", async (rate) => {
    const folder = await emptyFolder();
    ffmpeg(folder, "-f lavfi -i sine=d=1:sample_rate=16000 -c:a pcm_s16le sound.mkv");
    setDouble(join(folder, "sound.mkv"), "b5", rate);
    await whisper(folder, "sound.mkv", "MEDIA_INVALID");
  });

  it.each([255, 300, 65_535])("of a wav with %s channels is refused", async (channels) => {
    const folder = await emptyFolder();
    const data = new Uint8Array(2 * 65_535 * 4);
    writeFileSync(join(folder, "sound.wav"), wavFile({ channels, blockAlign: (2 * channels) & 0xffff, data }));
    await whisper(folder, "sound.wav", channels === 65_535 ? "MEDIA_INVALID" : "MEDIA_TOO_MANY_CHANNELS");
  });

  it.each([
    [0, "MEDIA_INVALID"],
    [255, "MEDIA_TOO_MANY_CHANNELS"],
  ])("of a Matroska file with %s channels is refused", async (channels, code) => {
    const folder = await emptyFolder();
    ffmpeg(folder, "-f lavfi -i sine=d=1:sample_rate=16000 -c:a pcm_s16le sound.mkv");
    const path = join(folder, "sound.mkv");
    const file = readFileSync(path);
    const at = file.indexOf(Buffer.from("9f8101", "hex"));
    expect(at).toBeGreaterThan(0);
    file[at + 2] = channels;
    writeFileSync(path, file);
    await whisper(folder, "sound.mkv", code);
  });
});
