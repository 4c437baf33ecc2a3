import { describe, expect, it } from "vitest";
import { interleave, predictSeparators, predictWindows } from "../../src/sequence/index.js";
import { collect, random, source, tokens } from "./helpers.js";

describe("predictSeparators", () => {
  it("equals what interleave makes, for random spans, windows and texts", async () => {
    const rng = random(7);
    for (let round = 0; round < 60; round++) {
      const windowSeconds = [0.1, 0.5, 1, 2, 3.3][Math.floor(rng() * 5)]!;
      const spans = Array.from({ length: 1 + Math.floor(rng() * 3) }, () => ({
        first: Math.floor(rng() * 40) / 10,
        period: [0.04, 0.1, 0.5, 1, 2, 7][Math.floor(rng() * 6)]!,
        count: Math.floor(rng() * 30),
      }));
      const texts = Math.floor(rng() * 3);
      const parts = await collect(
        interleave(
          [
            ...spans.map((span, i) => source(i % 2 ? 1 : 2, tokens(span.first, span.period, span.count))),
            ...Array.from({ length: texts }, () => source(0, tokens(0, 1, 3), { timed: false })),
          ],
          { windowSeconds },
        ),
      );
      expect(predictSeparators(spans, windowSeconds, texts)).toBe(parts.filter((part) => part.modality === 255).length);
    }
  });

  it("counts an hour at once and nothing for nothing", () => {
    expect(predictWindows([{ first: 0, period: 0.08, count: 45_000 }])).toBe(1800);
    expect(predictSeparators([], 2)).toBe(0);
    expect(predictSeparators([], 2, 1)).toBe(0);
  });

  it("refuses spans that are none", () => {
    const bad = [
      { first: Number.NaN, period: 1, count: 1 },
      { first: 0, period: -1, count: 1 },
      { first: 0, period: 1, count: 1.5 },
    ];
    for (const span of bad)
      expect(() => predictWindows([span])).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    expect(() => predictWindows([], 0)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });
});
