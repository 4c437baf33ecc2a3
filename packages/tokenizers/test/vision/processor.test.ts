import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  ImageProcessor,
  type ImageProcessorOptions,
  imagePreset,
  imageProcessorOptions,
  mergedPatches,
  readImageProcessorConfig,
  readImageProcessorOptions,
} from "../../src/vision/index.js";
import { greatestDifference, noise, readGolden } from "./helpers.js";

const golden = await readGolden();
const rounding = 1e-6;

describe("presets", () => {
  it.each([
    ["landscape.CLIPImageProcessorPil", "clip"],
    ["landscape.ViTImageProcessorPil", "vit"],
    ["tiny.SiglipImageProcessorPil", "siglip"],
    ["video.VideoMAEImageProcessorPil.pixel_values", "videomae"],
    ["video.VivitImageProcessor.pixel_values", "vivit"],
  ] as const)("give the values of %s", (name, preset) => {
    const processor = new ImageProcessor(imagePreset(preset, 64));
    const { values, width, height } = processor.process(golden.picture(`${name.split(".")[0]}.rgb`));
    expect([width, height]).toEqual([64, 64]);
    expect(greatestDifference(values, golden.floats[name]!)).toBeLessThan(rounding);
  });

  it("lie one step of a byte from torchvision's path", () => {
    const values = new ImageProcessor(imagePreset("clip", 64)).process(golden.picture("landscape.rgb")).values;
    const step = 1 / 255 / 0.26130258;
    expect(greatestDifference(values, golden.floats["landscape.CLIPImageProcessor"]!)).toBeLessThan(step * 1.01);
  });

  it("have the published sizes", () => {
    expect(imagePreset("clip")).toMatchObject({ fit: { side: 224 }, crop: { width: 224, height: 224 } });
    expect(imagePreset("vivit")).toMatchObject({ fit: { side: 256 }, crop: { width: 224, height: 224 } });
    expect(imagePreset("vivit", 64)).toMatchObject({ fit: { side: 64 }, crop: { width: 64, height: 64 } });
  });
});

describe("the processor", () => {
  const flat = (options: ImageProcessorOptions) => new ImageProcessor({ rescale: 1, filter: "nearest", ...options });
  /** Red counts columns, green rows. */
  const counted = (width: number, height: number) => ({
    width,
    height,
    pixels: Uint8Array.from({ length: width * height * 3 }, (_, i) => {
      const pixel = Math.floor(i / 3);
      return [pixel % width, Math.floor(pixel / width), 7][i % 3]!;
    }),
  });
  const corner = ({ values, width, height }: { values: Float32Array; width: number; height: number }) => [
    values[0],
    values[width * height],
  ];

  it("crops the middle, half pixels to the upper left", () => {
    const out = flat({ crop: { width: 4, height: 2 } }).process(counted(9, 5));
    expect(corner(out)).toEqual([2, 1]);
    expect([...out.values.subarray(0, 8)]).toEqual([2, 3, 4, 5, 2, 3, 4, 5]);
  });

  it("lays zeros, normalised, around an image smaller than the crop", () => {
    const out = flat({ crop: { width: 6, height: 3 }, mean: [1, 1, 1], std: [2, 2, 2] }).process(counted(3, 2));
    const padding = -0.5;
    // transformers pads ⌈rest / 2⌉ in front.
    expect([...out.values.subarray(0, 6)]).toEqual(new Array(6).fill(padding));
    expect([...out.values.subarray(6, 12)]).toEqual([padding, padding, -0.5, 0, 0.5, padding]);
  });

  it("takes several parts", () => {
    const three = flat({ crop: { width: 4, height: 4, pattern: "three" } });
    expect(three.processAll(counted(10, 4)).map(corner)).toEqual([
      [0, 0],
      [3, 0],
      [6, 0],
    ]);
    expect(three.processAll(counted(4, 9)).map(corner)).toEqual([
      [0, 0],
      [0, 2],
      [0, 5],
    ]);
    const five = flat({ crop: { width: 2, height: 2, pattern: "five" } });
    expect(five.processAll(counted(6, 4)).map(corner)).toEqual([
      [0, 0],
      [4, 0],
      [0, 2],
      [4, 2],
      [2, 1],
    ]);
    expect(corner(three.process(counted(10, 4)))).toEqual([0, 0]);
  });

  it("puts an image into a letterbox", () => {
    const out = flat({ fit: { kind: "letterbox", width: 4, height: 5, fill: 9 } }).process(counted(4, 2));
    expect([...out.values.subarray(0, 20)]).toEqual([9, 9, 9, 9, 0, 1, 2, 3, 0, 1, 2, 3, 9, 9, 9, 9, 9, 9, 9, 9]);
  });

  it("follows a change of size between frames", () => {
    const processor = new ImageProcessor(imagePreset("clip", 32));
    const [a, b] = [noise(80, 60), noise(60, 90)];
    const first = processor.process(a).values;
    processor.process(b);
    expect(processor.process(a).values).toEqual(first);
    expect(processor.sizeOf(b)).toEqual({ width: 32, height: 32 });
  });

  it("refuses bytes of another size, extreme shapes and options that are none", () => {
    const processor = new ImageProcessor(imagePreset("clip", 32));
    expect(() => processor.process({ ...noise(8, 8), width: 9 })).toThrow(
      expect.objectContaining({ kind: "usage", code: "FRAME_SIZE_MISMATCH" }),
    );
    expect(() => processor.process(noise(201, 1))).toThrow(
      expect.objectContaining({ kind: "input", code: "IMAGE_SHAPE_EXTREME" }),
    );
    for (const options of [
      { std: [1, 0, 1] },
      { filter: "cubic" },
      { fit: { kind: "shortest", side: 0 } },
      { size: 3 },
    ]) {
      expect(() => new ImageProcessor(options as ImageProcessorOptions)).toThrow(
        expect.objectContaining({ code: "INVALID_OPTION" }),
      );
    }
  });
});

describe("preprocessor_config.json", () => {
  it.each([
    ["CLIPImageProcessor", { crop_size: { height: 64, width: 64 }, size: { shortest_edge: 64 } }, "clip"],
    ["SiglipImageProcessor", { size: { height: 64, width: 64 } }, "siglip"],
    ["ViTImageProcessorFast", { size: { height: 64, width: 64 } }, "vit"],
    ["VideoMAEImageProcessor", { crop_size: { height: 64, width: 64 }, size: { shortest_edge: 64 } }, "videomae"],
    ["VivitImageProcessor", { crop_size: { height: 64, width: 64 }, size: { shortest_edge: 64 } }, "vivit"],
  ] as const)("of %s fills what it leaves out from its class", (type, fields, preset) => {
    const options = imageProcessorOptions({ image_processor_type: type, ...fields });
    const made = new ImageProcessor(options).process(noise(90, 70)).values;
    expect(made).toEqual(new ImageProcessor(imagePreset(preset, 64)).process(noise(90, 70)).values);
  });

  it("is honoured field by field", () => {
    const statistics = { image_mean: [0.1, 0.2, 0.3], image_std: [0.4, 0.5, 0.6] };
    expect(
      imageProcessorOptions({
        feature_extractor_type: "VideoMAEFeatureExtractor",
        ...statistics,
        do_center_crop: true,
        crop_size: 32,
        size: 40,
        resample: 1,
        rescale_factor: 0.5,
      }),
    ).toEqual({
      fit: { kind: "shortest", side: 40 },
      filter: "lanczos",
      crop: { width: 32, height: 32 },
      rescale: 0.5,
      mean: statistics.image_mean,
      std: statistics.image_std,
    });
    const off = { do_resize: false, do_rescale: false, do_normalize: false };
    expect(imageProcessorOptions({ ...off, ...statistics })).toEqual({ rescale: 1 });
    expect(imageProcessorOptions({ image_processor_type: "Qwen2VLImageProcessor", max_pixels: 100000 }).fit).toEqual({
      kind: "budget",
      factor: 28,
      minPixels: 3136,
      maxPixels: 100000,
    });
  });

  it.each([
    [[], "PROCESSOR_CONFIG_INVALID"],
    [{ size: { width: 3 } }, "PROCESSOR_CONFIG_INVALID"],
    [{ size: 1e9 }, "PROCESSOR_CONFIG_INVALID"],
    [{ size: 32, resample: 9 }, "PROCESSOR_CONFIG_INVALID"],
    [{ size: 32, do_resize: "yes" }, "PROCESSOR_CONFIG_INVALID"],
    [{ size: 32, image_mean: [0, 0, 0], image_std: [1, 0, 1] }, "PROCESSOR_CONFIG_INVALID"],
    [{ size: 32, do_pad: true }, "PROCESSOR_CONFIG_UNSUPPORTED"],
    [{ size: 32, crop_pct: 0.9 }, "PROCESSOR_CONFIG_UNSUPPORTED"],
    [{ size: 32, keep_aspect_ratio: true }, "PROCESSOR_CONFIG_UNSUPPORTED"],
    [{ image_processor_type: "LevitImageProcessor", size: { shortest_edge: 32 } }, "PROCESSOR_CONFIG_UNSUPPORTED"],
  ])("is refused when it is wrong or asks for more: %j", (config, code) => {
    expect(() => imageProcessorOptions(config)).toThrow(expect.objectContaining({ kind: "input", code }));
  });

  it("is read from a file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "krait-processor-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const path = join(folder, "preprocessor_config.json");
    await writeFile(path, JSON.stringify({ image_processor_type: "ViTImageProcessor", size: 32 }));
    expect(await readImageProcessorOptions(path)).toMatchObject({ fit: { kind: "exact", width: 32, height: 32 } });
    expect((await readImageProcessorConfig(path)).patches).toBeUndefined();
    const patches = { patch_size: 16, merge_size: 3, temporal_patch_size: 1 };
    await writeFile(path, JSON.stringify({ image_processor_type: "Qwen2VLImageProcessorFast", ...patches }));
    expect(await readImageProcessorConfig(path)).toMatchObject({
      options: { fit: { kind: "budget", factor: 48 } },
      patches: { frames: 1, patch: 16, merge: 3 },
    });
    await writeFile(path, `{"size": 32, "size": 33}`);
    await expect(readImageProcessorOptions(path)).rejects.toMatchObject({ kind: "input" });
    await writeFile(path, "x".repeat(3e6));
    await expect(readImageProcessorOptions(path)).rejects.toMatchObject({ kind: "input" });
  });
});

describe("merged patches", () => {
  it("follow Qwen2-VL's order", () => {
    // As the reference: values laid out by a reshape to nine axes and their transpose, written as nine loops.
    const [patch, merge, width, height] = [2, 2, 12, 8];
    const frames = [0, 1].map((f) => ({
      values: Float32Array.from({ length: 3 * width * height }, (_, i) => f * 1000 + i),
      width,
      height,
    }));
    const wanted: number[] = [];
    for (let by = 0; by < height / patch / merge; by++)
      for (let bx = 0; bx < width / patch / merge; bx++)
        for (let my = 0; my < merge; my++)
          for (let mx = 0; mx < merge; mx++)
            for (let c = 0; c < 3; c++)
              for (const frame of frames)
                for (let y = 0; y < patch; y++)
                  for (let x = 0; x < patch; x++)
                    wanted.push(
                      frame.values[
                        c * width * height + ((by * merge + my) * patch + y) * width + (bx * merge + mx) * patch + x
                      ]!,
                    );
    const out = mergedPatches(frames, { patch, merge });
    expect([...out.values]).toEqual(wanted);
    expect(out.count).toBe(24);
    expect([...out.row.subarray(0, 6)]).toEqual([0, 0, 1, 1, 0, 0]);
    expect([...out.column.subarray(0, 6)]).toEqual([0, 1, 0, 1, 2, 3]);
  });

  it("refuse sides that are no whole blocks", () => {
    const frame = { values: new Float32Array(3 * 14 * 28), width: 28, height: 14 };
    expect(() => mergedPatches([frame])).toThrow(expect.objectContaining({ code: "FRAME_SIZE_MISMATCH" }));
  });
});
