import { describe, expect, it } from "vitest";
import { hertzToMel, melFilterbank, melToHertz } from "../../src/audio/index.js";

describe("Slaney's mel scale", () => {
  it("is 15 at 1000 Hz, linear below, 27 steps to 6400 Hz above", () => {
    expect(hertzToMel(1000)).toBeCloseTo(15, 12);
    expect(hertzToMel(500)).toBeCloseTo(7.5, 12);
    expect(hertzToMel(6400)).toBeCloseTo(42, 12);
  });

  it("goes back and forth", () => {
    for (const hertz of [0, 1, 440, 999.9, 1000, 1000.1, 3700, 8000]) {
      expect(melToHertz(hertzToMel(hertz))).toBeCloseTo(hertz, 8);
    }
  });
});

describe.each([80, 128])("the filterbank of %i triangles", (bins) => {
  const filters = melFilterbank(bins);
  const edge = (i: number) => melToHertz((hertzToMel(8000) * i) / (bins + 1));

  it("leaves no triangle empty and none reaches beyond its neighbours' centres", () => {
    for (let m = 0; m < bins; m++) {
      const row = [...filters.subarray(m * 201, (m + 1) * 201)];
      expect(Math.max(...row)).toBeGreaterThan(0);
      const inside = row.map((_, k) => k * 40 > edge(m) && k * 40 < edge(m + 2));
      expect(row.map((w) => w > 0)).toEqual(inside);
    }
  });

  it("gives triangles that span many bins an area of 1", () => {
    const last = filters.subarray((bins - 1) * 201);
    const widthInBins = (edge(bins + 1) - edge(bins - 1)) / 40;
    const area = last.reduce((sum, w) => sum + w * 40, 0);
    expect(widthInBins).toBeGreaterThan(8);
    expect(Math.abs(area - 1)).toBeLessThan(1 / widthInBins ** 2);
  });
});
