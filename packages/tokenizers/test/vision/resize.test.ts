import { describe, expect, it } from "vitest";
import { type FilterName, fittedSize, Resizer } from "../../src/vision/index.js";
import { greatestDifference, noise, readGolden } from "./helpers.js";

const golden = await readGolden();

describe("the resizer", () => {
  it.each([
    ["tiny", "bicubic", 112, 98],
    ["tiny", "lanczos", 64, 64],
    ["tiny", "bilinear", 64, 64],
    ["landscape", "bicubic", 64, 64],
    ["landscape", "lanczos", 64, 64],
    ["landscape", "bilinear", 112, 98],
  ] as const)("gives Pillow's bytes: %s, %s, %i × %i", (name, filter, height, width) => {
    const picture = golden.picture(`${name}.rgb`);
    const out = new Resizer(picture, { width, height }, filter).run(picture.pixels);
    expect(greatestDifference(out, golden.bytes[`${name}.pil_${filter}_${height}x${width}`]!)).toBe(0);
  });

  it.each(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as FilterName[])(
    "computes a part with the same bytes as the whole: %s",
    (filter) => {
      const picture = noise(97, 61);
      const target = { width: 40, height: 53 };
      const whole = new Resizer(picture, target, filter).run(picture.pixels);
      const box = { left: 7, top: 11, width: 21, height: 30 };
      const part = new Resizer(picture, target, filter, box).run(picture.pixels);
      for (let y = 0; y < box.height; y++) {
        const at = ((y + box.top) * target.width + box.left) * 3;
        expect(part.subarray(y * box.width * 3, (y + 1) * box.width * 3)).toEqual(
          whole.subarray(at, at + box.width * 3),
        );
      }
    },
  );

  it.each(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as FilterName[])(
    "keeps a flat colour, also at the ends of the range: %s",
    (filter) => {
      for (const level of [0, 1, 128, 255]) {
        for (const [from, to] of [
          [50, 13],
          [13, 50],
          [31, 31],
          [1, 9],
          [9, 1],
        ] as const) {
          const pixels = new Uint8Array(from * 7 * 3).fill(level);
          const out = new Resizer({ width: from, height: 7 }, { width: to, height: 5 }, filter).run(pixels);
          expect(out.every((v) => v === level)).toBe(true);
        }
      }
    },
  );

  it("rounds to bytes between the passes and leaves an axis alone that keeps its size", () => {
    const picture = noise(20, 20);
    expect(new Resizer(picture, picture, "bicubic").run(picture.pixels)).toEqual(picture.pixels);
    const wide = new Resizer(picture, { width: 9, height: 20 }, "lanczos").run(picture.pixels);
    const both = new Resizer(picture, { width: 9, height: 8 }, "lanczos").run(picture.pixels);
    expect(new Resizer({ width: 9, height: 20 }, { width: 9, height: 8 }, "lanczos").run(wide)).toEqual(both);
  });

  it.each(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as FilterName[])(
    "takes a part of an axis that keeps its size: %s",
    (filter) => {
      const picture = noise(30, 20);
      const box = { left: 3, top: 5, width: 11, height: 9 };
      const whole = new Resizer(picture, { width: 14, height: 20 }, filter).run(picture.pixels);
      const part = new Resizer(picture, { width: 14, height: 20 }, filter, box).run(picture.pixels);
      for (let y = 0; y < box.height; y++) {
        const at = ((y + box.top) * 14 + box.left) * 3;
        expect(part.subarray(y * 33, (y + 1) * 33)).toEqual(whole.subarray(at, at + 33));
      }
    },
  );

  it("takes the pixels that Pillow's nearest takes, whose steps are summed up", () => {
    let moved = 0;
    let wrong = 0;
    for (let size = 1; size < 60; size++) {
      const pixels = Uint8Array.from({ length: size * 3 }, (_, i) => Math.floor(i / 3));
      for (let target = 1; target < 60; target++) {
        const out = new Resizer({ width: size, height: 1 }, { width: target, height: 1 }, "nearest").run(pixels);
        // libImaging/Geometry.c, ImagingScaleAffine.
        const step = size / target;
        let at = step * 0.5;
        for (let x = 0; x < target; x++, at += step) {
          if (out[3 * x] !== Math.trunc(at)) wrong++;
          if (Math.trunc(at) !== Math.floor((x + 0.5) * step)) moved++;
        }
      }
    }
    expect(wrong).toBe(0);
    expect(moved).toBeGreaterThan(0);
  });

  it("averages pairs when a box filter halves", () => {
    const out = new Resizer({ width: 4, height: 1 }, { width: 2, height: 1 }, "box").run(
      Uint8Array.of(0, 10, 20, 100, 30, 41, 5, 5, 5, 7, 7, 7),
    );
    // 30.5 rounds up, as adding half and cutting does.
    expect([...out]).toEqual([50, 20, 31, 6, 6, 6]);
  });

  it("refuses sizes that are none, and bytes of another size", () => {
    for (const width of [0, -1, 1.5, Number.NaN, 70000]) {
      expect(() => new Resizer({ width, height: 4 }, { width: 2, height: 2 }, "box")).toThrow(
        expect.objectContaining({ code: "INVALID_OPTION" }),
      );
    }
    const box = { left: 1, top: 0, width: 2, height: 2 };
    expect(() => new Resizer(noise(4, 4), { width: 2, height: 2 }, "box", box)).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
    expect(() => new Resizer(noise(4, 4), { width: 2, height: 2 }, "box").run(new Uint8Array(47))).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
  });
});

describe("fitted sizes", () => {
  it("cut the longer side down to whole pixels", () => {
    expect(fittedSize({ kind: "shortest", side: 64 }, { width: 321, height: 181 })).toEqual({ width: 113, height: 64 });
    expect(fittedSize({ kind: "shortest", side: 64 }, { width: 135, height: 240 })).toEqual({ width: 64, height: 113 });
    expect(fittedSize({ kind: "shortest", side: 64, longest: 100 }, { width: 321, height: 181 })).toEqual({
      width: 100,
      height: 56,
    });
  });

  it("keep a shape inside a letterbox", () => {
    expect(fittedSize({ kind: "letterbox", width: 100, height: 100 }, { width: 320, height: 180 })).toEqual({
      width: 100,
      height: 56,
    });
    expect(fittedSize({ kind: "letterbox", width: 100, height: 100 }, { width: 1, height: 9000 })).toEqual({
      width: 1,
      height: 100,
    });
  });

  // By hand from transformers' smart_resize; round() in Python takes halves to the even neighbour.
  it.each([
    [
      [100, 100],
      [112, 112],
    ],
    [
      [42, 70],
      [56, 56],
    ],
    [
      [1000, 10],
      [560, 28],
    ],
    [
      [1920, 1080],
      [1316, 728],
    ],
  ] as const)("stay within a budget of pixels: %j to %j", ([width, height], [wantedWidth, wantedHeight]) => {
    const fit = { kind: "budget", factor: 28, minPixels: 56 * 56, maxPixels: 28 * 28 * 1280 } as const;
    const size = fittedSize(fit, { width, height });
    expect(size).toEqual({ width: wantedWidth, height: wantedHeight });
  });
});
