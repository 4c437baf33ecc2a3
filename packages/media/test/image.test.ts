import { readFileSync, writeFileSync } from "node:fs";
import sharp, { type Sharp } from "sharp";
import { describe, expect, test } from "vitest";
import { decode, probe, readImage } from "../src/index.js";
import { collect, decoded, expectCode, expectRejection, ffmpeg, mean, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const video = { sampling: "all" } as const;

/** Left half red, right half blue. */
function halves(width = 8, height = 4): Sharp {
  const data = Buffer.alloc(width * height * 3);
  for (let i = 0; i < width * height; i++) data[i * 3 + (i % width < width / 2 ? 0 : 2)] = 255;
  return sharp(data, { raw: { width, height, channels: 3 } });
}
const pixel = (frame: { pixels: Uint8Array; width: number }, x: number, y: number) => [
  ...frame.pixels.subarray((y * frame.width + x) * 3, (y * frame.width + x) * 3 + 3),
];

describe("readImage", () => {
  test("pixels as RGB24, start = end = 0", async () => {
    const frame = await readImage(await halves().png().toBuffer());
    expect(frame).toMatchObject({ kind: "video", width: 8, height: 4, start: 0, end: 0 });
    expect(frame.pixels).toHaveLength(8 * 4 * 3);
    expect(pixel(frame, 0, 0)).toEqual([255, 0, 0]);
    expect(pixel(frame, 7, 3)).toEqual([0, 0, 255]);
  });

  test("EXIF orientation is applied", async () => {
    // Orientation 6: the stored left edge is shown on top.
    const turned = await halves()
      .jpeg({ quality: 100, chromaSubsampling: "4:4:4" })
      .withMetadata({ orientation: 6 })
      .toBuffer();
    const frame = await readImage(turned);
    expect([frame.width, frame.height]).toEqual([4, 8]);
    expect(pixel(frame, 1, 0)[0]).toBeGreaterThan(200);
    expect(pixel(frame, 1, 7)[2]).toBeGreaterThan(200);
    writeFileSync(at("turned.jpg"), turned);
    expect((await probe(at("turned.jpg"))).streams[0]).toMatchObject({ width: 4, height: 8 });
  });

  test("grey, 16 bits and transparency become three channels of 8 bits over black", async () => {
    const grey = await sharp({ create: { width: 2, height: 2, channels: 3, background: "#808080" } })
      .grayscale()
      .png()
      .toBuffer();
    expect(pixel(await readImage(grey), 0, 0)).toEqual([128, 128, 128]);
    const deep = await halves().toColourspace("rgb16").png().toBuffer();
    expect(pixel(await readImage(deep), 0, 0)).toEqual([255, 0, 0]);
    const glass = sharp({
      create: { width: 2, height: 2, channels: 4, background: { r: 200, g: 100, b: 0, alpha: 0.5 } },
    });
    const [r, g, b] = pixel(await readImage(await glass.png().toBuffer()), 0, 0);
    expect(Math.abs(r! - 100)).toBeLessThanOrEqual(1);
    expect(Math.abs(g! - 50)).toBeLessThanOrEqual(1);
    expect(b).toBe(0);
  });

  test("stretch, cover and contain", async () => {
    const png = await halves(80, 40).png().toBuffer();
    const fit = (fit: "stretch" | "cover" | "contain") => readImage(png, { width: 20, height: 20, fit });
    for (const frame of [await fit("stretch"), await fit("cover"), await fit("contain")]) {
      expect([frame.width, frame.height]).toEqual([20, 20]);
    }
    expect(pixel(await fit("stretch"), 0, 0)).toEqual([255, 0, 0]);
    expect(pixel(await fit("contain"), 10, 0)).toEqual([0, 0, 0]);
    expect(pixel(await fit("contain"), 1, 10)[0]).toBeGreaterThan(200);
    expect(pixel(await fit("cover"), 10, 0)).not.toEqual([0, 0, 0]);
  });

  test("a video scaled by the same word has the same shape", async () => {
    const png = await halves(80, 40)
      .png()
      .toFile(at("halves.png"))
      .then(() => at("halves.png"));
    const clip = await ffmpeg(`-loop 1 -i ${png} -t 0.2 -r 10 -c:v ffv1 -pix_fmt bgr0`, at("halves.mkv"));
    for (const fit of ["stretch", "cover", "contain"] as const) {
      const options = { width: 20, height: 20, fit };
      const still = await readImage(png, options);
      const [moving] = (await decoded(decode(clip, { video: { sampling: "all", ...options } }))).video;
      const differences = still.pixels.map((value, i) => Math.abs(value - moving!.pixels[i]!));
      expect(mean(differences)).toBeLessThan(6);
    }
  });

  test("what cannot be an image", async () => {
    await expectRejection(readImage(Buffer.alloc(0)), "SOURCE_EMPTY");
    await expectRejection(readImage(Buffer.from("no image at all")), "MEDIA_INVALID");
    await expectRejection(
      readImage(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')),
      "MEDIA_INVALID",
    );
    const png = await halves(200, 200).png({ compressionLevel: 0 }).toBuffer();
    await expectRejection(readImage(png.subarray(0, png.length / 2)), "MEDIA_INVALID");
    await expectRejection(readImage(png, { limits: { maxPixels: 1000 } }), "MEDIA_TOO_LARGE");
    await expectRejection(readImage(png, { signal: AbortSignal.abort() }), "ABORTED");
    await expectRejection(readImage(at("none.png")), "SOURCE_NOT_FOUND");
  });

  test("a header that declares 65,535 × 65,535", async () => {
    const png = Buffer.from(await halves().png().toBuffer());
    png.writeUInt32BE(65535, 16);
    png.writeUInt32BE(65535, 20);
    const { crc32 } = await import("node:zlib");
    if (crc32 !== undefined) png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
    const error = await readImage(png).catch((thrown: unknown) => thrown);
    expect((error as { code: string }).code).toMatch(/^MEDIA_(TOO_LARGE|INVALID)$/);
  });
});

describe("decode of images", () => {
  test("one part, whatever the sampling", async () => {
    await halves().png().toFile(at("still.png"));
    for (const sampling of ["all", { fps: 2 }, { count: 8 }] as const) {
      const { parts } = await decoded(decode(at("still.png"), { video: { sampling, width: 4, height: 4 } }));
      expect(parts).toHaveLength(1);
      expect(parts[0]).toMatchObject({ kind: "video", width: 4, height: 4, start: 0, end: 0 });
    }
    expectCode((await collect(decode(at("still.png"), { audio: { sampleRate: 16000 } }))).error, "MEDIA_NO_AUDIO");
  });

  test("an extension that lies is not believed", async () => {
    writeFileSync(at("still.mp4"), await halves().jpeg().toBuffer());
    expect((await probe(at("still.mp4"))).container).toBe("jpeg");
    expect((await decoded(decode(at("still.mp4"), { video }))).video).toHaveLength(1);
  });

  test("an animated GIF is a video", async () => {
    const gif = await ffmpeg("-f lavfi -i testsrc2=size=32x32:rate=5:duration=1", at("moving.gif"));
    expect((await probe(gif)).streams[0]!.kind).toBe("video");
    const { video: frames } = await decoded(decode(gif, { video }));
    expect(frames.map((frame) => frame.start)).toEqual([0, 0.2, 0.4, 0.6, 0.8].map((t) => expect.closeTo(t, 5)));
    await sharp(readFileSync(gif), { animated: false }).gif().toFile(at("one.gif"));
    expect((await probe(at("one.gif"))).streams[0]!.kind).toBe("image");
  });
});
