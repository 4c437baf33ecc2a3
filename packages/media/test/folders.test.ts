import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, test } from "vitest";
import { decode, probe } from "../src/index.js";
import { collect, decoded, expectCode, expectRejection, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const names = ["shot 1.png", "shot 2.jpg", "shot 10.png", "shot 11.webp", "shot 12.png"];

beforeAll(async () => {
  await mkdir(at("shots"));
  for (const [i, name] of names.entries()) {
    const create = { width: 20 + i, height: 20, channels: 3, background: { r: 40 * i, g: 0, b: 0 } } as const;
    await sharp({ create }).toFile(join(at("shots"), name));
  }
  await writeFile(join(at("shots"), "notes.txt"), "no picture");
  await writeFile(join(at("shots"), ".hidden.png"), "no picture");
  await mkdir(join(at("shots"), "more.png"));
});

describe("a folder of images", () => {
  const video = { sampling: "all", width: 4, height: 4 } as const;

  test("is a video of its pictures in natural order", async () => {
    const { video: frames } = await decoded(decode(at("shots"), { video: { ...video, folderFps: 4 } }));
    expect(frames.map(({ start, end }) => [start, end])).toEqual(names.map((_, i) => [i / 4, (i + 1) / 4]));
    const reds = frames.map(({ pixels }) => pixels[0]!);
    for (const [i, red] of reds.entries()) expect(Math.abs(red - 40 * i)).toBeLessThan(6);
    const info = await probe(at("shots"));
    expect(info).toMatchObject({ container: "images", streams: [{ kind: "video", frames: 5, width: 20, height: 20 }] });
  });

  test("is sampled and cut as a video is", async () => {
    const starts = async (options: object, range: object = {}) =>
      (await decoded(decode(at("shots"), { video: { ...video, ...options }, ...range }))).video.map((f) => f.start);
    expect(await starts({}, { start: 0.5, end: 2 })).toEqual([0.5, 1, 1.5]);
    expect(await starts({ sampling: { count: 1 } })).toEqual([1]);
    expect(await starts({ sampling: { times: [2.1, 0.7] } })).toEqual([0.5, 2]);
    expect(await starts({ sampling: { fps: 1 } })).toEqual([0, 1, 2]);
  });

  test("without pictures, with one that is none, or for its sound is refused", async () => {
    await mkdir(at("empty"));
    await expectRejection(probe(at("empty")), "SOURCE_IS_DIRECTORY");
    await mkdir(at("mixed"));
    await copyFile(join(at("shots"), names[0]!), join(at("mixed"), "1.png"));
    await writeFile(join(at("mixed"), "2.png"), "no picture");
    const mixed = await collect(decode(at("mixed"), { video }));
    expect(mixed.video).toHaveLength(0);
    expectCode(mixed.error, "MEDIA_INVALID");
    const sound = await collect(decode(at("shots"), { audio: { sampleRate: 16000 } }));
    expectCode(sound.error, "MEDIA_NO_AUDIO");
  });
});
