import { describe, expect, it } from "vitest";
import { FeatureBins, type FeatureChunk, modalityCode } from "../src/report/binning.js";
import { Envelope } from "../src/report/envelope.js";
import { TimeSlots } from "../src/report/slots.js";
import { random } from "./report-fixture.js";

const DIM = 5;

function tokens(count: number, seed: number, duration: number): FeatureChunk {
  const next = random(seed);
  const chunk: FeatureChunk = {
    features: new Float32Array(count * DIM).map(() => next() * 2 - 1),
    start: new Float64Array(count),
    end: new Float64Array(count),
    modality: new Uint8Array(count),
  };
  for (let i = 0; i < count; i++) {
    // Every fourth token repeats the times of the one before it, as patches do; some last no time at all.
    const again = i > 0 && next() < 0.25;
    const start = again ? chunk.start[i - 1]! : next() * duration;
    const length = next() < 0.1 ? 0 : next() * (next() < 0.05 ? duration / 3 : 2);
    chunk.start[i] = start;
    chunk.end[i] = again ? chunk.end[i - 1]! : start + length;
    chunk.modality[i] = next() < 0.05 ? 255 : again ? chunk.modality[i - 1]! : 1 + Math.floor(next() * 2);
  }
  return chunk;
}

function slice({ features, start, end, modality }: FeatureChunk, from: number, to: number): FeatureChunk {
  return {
    features: features.slice(from * DIM, to * DIM),
    start: start.slice(from, to),
    end: end.slice(from, to),
    modality: modality.slice(from, to),
  };
}

/** The definition, token by token and bin by bin, at a width known in advance. */
function brute(chunk: FeatureChunk, code: number, width: number, count: number) {
  const sums = new Float64Array(count * DIM);
  const weights = new Float64Array(count);
  const norms = new Float64Array(count);
  for (let i = 0; i < chunk.modality.length; i++) {
    if (chunk.modality[i] !== code) continue;
    const [start, end] = [chunk.start[i]!, chunk.end[i]!];
    const row = chunk.features.subarray(i * DIM, (i + 1) * DIM);
    for (let bin = 0; bin < count; bin++) {
      const [low, high] = [bin * width, (bin + 1) * width];
      const share =
        start === end
          ? Number(start >= low && start < high)
          : Math.max(0, Math.min(end, high) - Math.max(start, low)) / (end - start);
      if (share === 0) continue;
      weights[bin]! += share;
      norms[bin]! += share * Math.hypot(...row);
      for (let d = 0; d < DIM; d++) sums[bin * DIM + d]! += share * row[d]!;
    }
  }
  return { sums, weights, norms };
}

function near(actual: ArrayLike<number>, wanted: ArrayLike<number>, count: number): void {
  let worst = 0;
  for (let i = 0; i < count; i++) worst = Math.max(worst, Math.abs(actual[i]! - wanted[i]!));
  expect(worst).toBeLessThan(1e-9);
}

describe("feature bins", () => {
  it.each([
    [40, 64, 0.7],
    [200, 16, 35],
    [500, 64, 4000],
    [300, 33, 90],
  ])("hold what the definition says: %i tokens, %i bins, %d s", (count, maxBins, duration) => {
    const chunk = tokens(count, count, duration);
    const bins = new FeatureBins(DIM, maxBins);
    bins.add(chunk);
    expect(bins.count).toBeLessThanOrEqual(maxBins);
    expect(bins.count * bins.width).toBeGreaterThanOrEqual(bins.maxEnd);
    for (const code of [modalityCode.audio, modalityCode.video]) {
      const lane = bins.lane(code)!;
      const wanted = brute(chunk, code, bins.width, bins.count);
      near(lane.sums, wanted.sums, bins.count * DIM);
      near(lane.weights, wanted.weights, bins.count);
      near(lane.norms, wanted.norms, bins.count);
    }
  });

  it("do not depend on how tokens are cut into chunks", () => {
    const chunk = tokens(400, 9, 900);
    const whole = new FeatureBins(DIM, 64);
    whole.add(chunk);
    for (const seed of [1, 2, 3]) {
      const next = random(seed);
      const cut = new FeatureBins(DIM, 64);
      for (let from = 0; from < 400; ) {
        const to = Math.min(400, from + 1 + Math.floor(next() * (seed === 1 ? 1 : 60)));
        cut.add(slice(chunk, from, to));
        from = to;
      }
      expect([cut.width, cut.count, cut.tokens]).toEqual([whole.width, whole.count, whole.tokens]);
      for (const code of [1, 2]) near(cut.lane(code)!.sums, whole.lane(code)!.sums, 64 * DIM);
    }
  });

  it("never grow beyond their limit, however long the run", () => {
    const bins = new FeatureBins(DIM);
    const size = () => bins.lane(2)!.sums.length;
    for (let t = 0.01; t < 1e9; t *= 1.5) {
      bins.add({
        features: new Float32Array(DIM).fill(1),
        start: Float64Array.of(t),
        end: Float64Array.of(t * 1.2),
        modality: Uint8Array.of(2),
      });
      expect(bins.count).toBeLessThanOrEqual(1024);
      expect(size()).toBe(1024 * DIM);
    }
    const weight = bins.lane(2)!.weights.reduce((sum, value) => sum + value, 0);
    expect(weight).toBeCloseTo(bins.tokens.video, 6);
  });

  const point = (code: number, time: number, length = 0, value = 1): FeatureChunk => ({
    features: new Float32Array(DIM).fill(value),
    start: Float64Array.of(time),
    end: Float64Array.of(time + length),
    modality: Uint8Array.of(code),
  });

  it("keep text without times apart, before and after the rest", () => {
    const bins = new FeatureBins(DIM, 64);
    bins.add(point(0, 0, 0, 3));
    bins.add(point(2, 0, 1));
    bins.add(point(2, 1, 1));
    bins.add(point(0, 2, 0, 5));
    bins.add(point(0, 2, 0, 6));
    expect(bins.lane(0)).toBeUndefined();
    expect([bins.prefix.tokens, bins.prefix.sum[0]]).toEqual([1, 3]);
    expect([bins.suffix?.tokens, bins.suffix?.sum[0]]).toEqual([2, 11]);
    expect(bins.maxEnd).toBe(2);
  });

  it("place text at a point in time once something follows it", () => {
    const bins = new FeatureBins(DIM, 64);
    bins.add(point(1, 0, 1));
    bins.add(point(0, 1, 0, 5));
    bins.add(point(1, 1, 1));
    expect(bins.suffix).toBeUndefined();
    expect(bins.lane(0)!.sums[Math.floor(1 / bins.width) * DIM]).toBe(5);
  });

  it("count separators and class tokens and leave them out; leave out what is not finite", () => {
    const bins = new FeatureBins(DIM, 64);
    bins.add(point(255, 1, 0, Number.NaN));
    bins.add(point(254, 1, 0, 7));
    bins.add(point(1, 0, 1));
    bins.add(point(1, 1, 1, Number.NaN));
    bins.add(point(1, 1, 1, Number.POSITIVE_INFINITY));
    expect(bins.tokens).toEqual({ text: 0, audio: 3, video: 0, class: 1, separator: 1 });
    expect(bins.nonFinite).toBe(2);
    expect(bins.lane(1)!.sums.every(Number.isFinite)).toBe(true);
  });

  it.each([
    ["features of another length", { features: new Float32Array(3) }],
    ["a missing time", { start: new Float64Array(0) }],
    ["an end before its start", { start: Float64Array.of(9) }],
    ["a time that is no number", { start: Float64Array.of(Number.NaN) }],
    ["an unknown code", { modality: Uint8Array.of(7) }],
  ])("refuse %s and stay as they were", (_, wrong) => {
    const bins = new FeatureBins(DIM, 64);
    expect(() => bins.add({ ...point(2, 0, 1), ...wrong })).toThrowError(
      expect.objectContaining({ code: "INVALID_FEATURES", hint: expect.any(String) }),
    );
    expect([bins.count, bins.tokens.video]).toEqual([0, 0]);
  });
});

describe("envelope", () => {
  it("holds the extremes and loudness of its samples, for any cut", () => {
    const next = random(4);
    const rate = 1000;
    const samples = new Float32Array(20_000).map(() => next() * 2 - 1);
    const envelope = new Envelope(64);
    for (let from = 0; from < samples.length; ) {
      const to = Math.min(samples.length, from + 1 + Math.floor(next() * 700));
      envelope.add({ samples: samples.subarray(from, to), sampleRate: rate, start: from / rate });
      from = to;
    }
    expect(envelope.count).toBeLessThanOrEqual(64);
    expect(envelope.end).toBe(20);
    for (let bin = 0; bin < envelope.count; bin++) {
      const part = samples.filter((_, i) => Math.floor(i / (rate * envelope.width)) === bin);
      expect(envelope.samplesIn(bin)).toBe(part.length);
      expect(envelope.min[bin]).toBe(Math.min(...part));
      expect(envelope.max[bin]).toBe(Math.max(...part));
      const square = part.reduce((sum, value) => sum + value * value, 0) / part.length;
      expect(envelope.rms(bin)).toBeCloseTo(Math.sqrt(square), 9);
    }
  });

  it("keeps silence between two sounds apart from a sound of zero", () => {
    const envelope = new Envelope(64);
    envelope.add({ samples: new Float32Array(10), sampleRate: 100, start: 0 });
    envelope.add({ samples: new Float32Array(10).fill(0.5), sampleRate: 100, start: 5 });
    const at = (time: number) => envelope.samplesIn(Math.floor(time / envelope.width));
    expect(at(0)).toBeGreaterThan(0);
    expect(at(2.5)).toBe(0);
    expect(at(5)).toBeGreaterThan(0);
  });

  it("refuses a rate that is none", () => {
    expect(() => new Envelope().add({ samples: new Float32Array(1), sampleRate: 0, start: 0 })).toThrowError(
      expect.objectContaining({ code: "INVALID_AUDIO" }),
    );
  });
});

describe("time slots", () => {
  it("stay within capacity, keep the first item and leave no wide gap", () => {
    const slots = new TimeSlots<number>(60, 1 / 8);
    for (let i = 0; i < 7200; i++) {
      slots.add(i / 2, i);
      expect(slots.size).toBeLessThanOrEqual(60);
    }
    const times = slots.entries().map(({ time }) => time);
    expect(times[0]).toBe(0);
    expect(times.length).toBeGreaterThanOrEqual(28);
    const gaps = times.slice(1).map((time, i) => time - times[i]!);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(2 * (3600 / times.length));
  });
});
