import { type Device, openDevice } from "@krait/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Box,
  type FilterName,
  filterNames,
  ImageProcessor,
  imagePreset,
  imagePresets,
  openDeviceResizer,
  Resizer,
  type Size,
} from "../../src/vision/index.js";
import { random } from "../devices.js";
import { greatestDifference, noise, readGolden } from "./helpers.js";

const seed = Number(process.env.KRAIT_SEED ?? 1);

describe("the resizer of a device", () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu", threads: 2 });
  });
  afterAll(() => device.close());

  async function expectSame(source: Size, target: Size, filter: FilterName, box?: Box): Promise<void> {
    const { pixels } = noise(source.width, source.height, seed);
    const wanted = new Resizer(source, target, filter, box).run(pixels);
    await using resizer = openDeviceResizer(device, source, target, filter, box);
    const what = `${filter} ${JSON.stringify({ source, target, box })}`;
    expect(greatestDifference(await resizer.run(pixels), wanted), what).toBe(0);
  }

  it.each(filterNames)("gives the bytes of the plain loops for any sizes and parts: %s", async (filter) => {
    const rng = random(seed);
    const below = (n: number) => Math.floor(rng() * n);
    for (let i = 0; i < 40; i++) {
      const side = () => 1 + below(i % 4 === 0 ? 300 : 60);
      const source = { width: side(), height: side() };
      // Now and then an axis keeps its size.
      const target = { width: below(5) === 0 ? source.width : side(), height: below(5) === 0 ? source.height : side() };
      const width = 1 + below(target.width);
      const height = 1 + below(target.height);
      const box = { left: below(target.width - width + 1), top: below(target.height - height + 1), width, height };
      await expectSame(source, target, filter, i % 3 === 0 ? undefined : box);
    }
  });

  it.each(filterNames)("takes pictures of one pixel, one row and one column: %s", async (filter) => {
    const sizes = [1, 2, 37].flatMap((width) => [1, 2, 41].map((height) => ({ width, height })));
    for (const source of sizes) for (const target of sizes) await expectSame(source, target, filter);
  });

  it("takes frames of video: 1280 × 720 to a crop of 224", async () => {
    const box = { left: 87, top: 0, width: 224, height: 224 };
    for (const filter of ["bilinear", "bicubic", "lanczos"] as const) {
      await expectSame({ width: 1280, height: 720 }, { width: 398, height: 224 }, filter, box);
    }
  });

  it("gives Pillow's bytes", async () => {
    const golden = await readGolden();
    const picture = golden.picture("landscape.rgb");
    await using resizer = openDeviceResizer(device, picture, { width: 64, height: 64 }, "bicubic");
    const out = await resizer.run(picture.pixels);
    expect(greatestDifference(out, golden.bytes["landscape.pil_bicubic_64x64"]!)).toBe(0);
  });

  it("copies what it needs at once and keeps pictures apart", async () => {
    const source = { width: 50, height: 40 };
    await using resizer = openDeviceResizer(device, source, { width: 20, height: 30 }, "lanczos");
    const plain = new Resizer(source, { width: 20, height: 30 }, "lanczos");
    const pictures = Array.from({ length: 12 }, (_, i) => noise(source.width, source.height, i + 1).pixels);
    const wanted = pictures.map((pixels) => plain.run(pixels));
    const running = pictures.map((pixels) => {
      const result = resizer.run(pixels);
      pixels.fill(0);
      return result;
    });
    expect(await Promise.all(running)).toEqual(wanted);
  });

  it("refuses bytes of another size, tables that point elsewhere, and work behind its close", async () => {
    const resizer = openDeviceResizer(device, { width: 4, height: 4 }, { width: 2, height: 2 }, "box");
    await expect(resizer.run(new Uint8Array(47))).rejects.toMatchObject({ code: "INVALID_RUN" });
    resizer.close();
    await expect(resizer.run(new Uint8Array(48))).rejects.toMatchObject({ code: "INVALID_RUN" });
    const good = { size: 4, first: Int32Array.of(0, 2), count: Int32Array.of(2, 2), values: new Int32Array(4) };
    for (const bad of [
      { ...good, first: Int32Array.of(0, 3) },
      { ...good, first: Int32Array.of(-1, 2) },
      { ...good, count: Int32Array.of(2, 3) },
      { ...good, count: Int32Array.of(2) },
      { ...good, values: new Int32Array(3) },
      { ...good, values: new Int32Array(4).fill(2 ** 30) },
      { ...good, size: 0 },
      { ...good, size: Number.NaN },
    ]) {
      expect(() => device.resizer(bad, good)).toThrow(expect.objectContaining({ code: "INVALID_RUN" }));
      expect(() => device.resizer(good, bad)).toThrow(expect.objectContaining({ code: "INVALID_RUN" }));
    }
  });

  it("makes a processor's values the same, whatever the preset and the picture", async () => {
    for (const preset of imagePresets) {
      await using processor = new ImageProcessor(imagePreset(preset), device);
      for (const [width, height] of [
        [320, 180],
        [99, 240],
        [224, 224],
        [256, 300],
        [300, 256],
      ] as const) {
        const picture = noise(width, height, seed);
        const wanted = processor.process(picture);
        const out = await processor.run(picture);
        expect([out.width, out.height]).toEqual([wanted.width, wanted.height]);
        expect(greatestDifference(out.values, wanted.values)).toBe(0);
      }
    }
    const five = { fit: { kind: "shortest", side: 64 }, crop: { width: 48, height: 48, pattern: "five" } } as const;
    await using processor = new ImageProcessor(five, device);
    const picture = noise(130, 70, seed);
    expect(await processor.runAll(picture)).toEqual(processor.processAll(picture));
  });

  it("rejects a picture whose bytes do not fit", async () => {
    await using processor = new ImageProcessor({}, device);
    const picture = { pixels: new Uint8Array(5), width: 2, height: 2 };
    await expect(processor.run(picture)).rejects.toMatchObject({ code: "FRAME_SIZE_MISMATCH" });
  });
});
