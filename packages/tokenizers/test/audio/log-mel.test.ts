import type { Device } from "@krait/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLogMel, type LogMel, type LogMelOptions } from "../../src/audio/index.js";
import { devices, random, relativeRms } from "../devices.js";
import { normalized, plainLogMel, pushAll, readGolden, sound } from "./helpers.js";

const golden = await readGolden();

describe.each(devices)("log-mel on %s", (_, open) => {
  let device: Device;
  const made: LogMel[] = [];
  beforeAll(async () => {
    device = await open();
  });
  afterAll(async () => {
    for (const one of made) one.close();
    await device?.close();
  });
  const logMel = async (options: LogMelOptions = {}) => {
    const one = await createLogMel(device, { chunkFrames: 16, ...options });
    made.push(one);
    return one;
  };

  it.each([
    [80, golden.unpadded80],
    [128, golden.unpadded128],
  ] as const)("is Whisper's with %i bins", async (melBins, wanted) => {
    const exact = await logMel({ melBins, normalization: "exact" });
    expect(relativeRms(await exact.transform(golden.wave), wanted)).toBeLessThan(1e-4);
  });

  it("is Whisper's for a signal followed by silence", async () => {
    const frames = golden.padded80.length / 80;
    const padded = new Float32Array((frames + 3) * 160);
    padded.set(golden.wave);
    const exact = await logMel({ normalization: "exact" });
    const rows = await exact.transform(padded);
    expect(relativeRms(rows.subarray(0, golden.padded80.length), golden.padded80)).toBeLessThan(1e-4);
  });

  it.each([160, 161, 200, 201, 319, 320, 399, 400, 2560, 2599, 2600, 2601, 2719, 2720, 2759, 2760, 5200])(
    "mirrors both ends of %i samples",
    async (length) => {
      const x = sound(length, length);
      const log = plainLogMel(x, 80);
      const exact = await logMel({ normalization: "exact" });
      const rows = await exact.transform(x);
      expect(rows.length).toBe(Math.floor(length / 160) * 80);
      expect(relativeRms(rows, normalized(log, Math.max(...log)))).toBeLessThan(1e-5);
    },
  );

  it("gives no frame for less than a hop", async () => {
    const one = await logMel();
    for (const length of [0, 1, 159]) {
      expect(await one.transform(sound(1, length))).toHaveLength(0);
      expect(await pushAll(one.stream(), sound(1, length), () => 1)).toHaveLength(0);
    }
    expect(await (await logMel({ normalization: "exact" })).transform(new Float32Array(0))).toHaveLength(0);
  });

  it.each(["fixed", "running"] as const)(
    "streams the whole's very bits however it is cut (%s)",
    async (normalization) => {
      const one = await logMel({ normalization });
      for (const length of [170, 2600, 2761, 12_345]) {
        const x = sound(length, length);
        const whole = await one.transform(x);
        const rng = random(length);
        for (const cut of [() => 1, () => 160, () => 161, () => length, () => Math.floor(rng() * 900)]) {
          expect(await pushAll(one.stream(), x, cut)).toEqual(whole);
        }
      }
    },
  );

  it("gives whole chunks as soon as their samples are there", async () => {
    const one = await logMel();
    const stream = one.stream();
    const x = sound(3, 8000);
    // The 16th frame reaches 200 samples beyond its centre at 15 · 160.
    expect(await stream.push(x.subarray(0, 2599))).toHaveLength(0);
    expect(await stream.push(x.subarray(2599, 2600))).toHaveLength(16 * 80);
    expect(await stream.push(x.subarray(2600, 2600))).toHaveLength(0);
    expect(await stream.push(x.subarray(2600, 7720))).toHaveLength(32 * 80);
  });

  it("runs streams side by side without mixing them", async () => {
    const one = await logMel();
    const signals = [sound(5, 6000), sound(6, 6000)];
    const wholes = [await one.transform(signals[0]!), await one.transform(signals[1]!)];
    expect(await Promise.all(signals.map((x) => pushAll(one.stream(), x, () => 777)))).toEqual(wholes);
  });

  it("measures the floor from a constant, or from the greatest value so far", async () => {
    const x = sound(7, 6400).map((v, i) => v * (i < 3200 ? 0.01 : 1));
    const log = plainLogMel(x, 80);
    const fixed = await logMel({ normalization: "fixed", fixedMax: 1 });
    expect(relativeRms(await fixed.transform(x), normalized(log, 1))).toBeLessThan(1e-5);
    const defaults = await logMel();
    expect(relativeRms(await defaults.transform(x), normalized(log, 1.5))).toBeLessThan(1e-5);
    const wanted = new Float64Array(log.length);
    let max = Number.NEGATIVE_INFINITY;
    for (let at = 0; at < log.length; at += 80) {
      const frame = log.subarray(at, at + 80);
      max = Math.max(max, ...frame);
      wanted.set(normalized(frame, max), at);
    }
    const running = await logMel({ normalization: "running" });
    expect(relativeRms(await running.transform(x), wanted)).toBeLessThan(1e-5);
  });

  it("takes two passes for the exact maximum of a stream", async () => {
    const x = sound(8, 9000);
    const first = (await logMel()).stream();
    await pushAll(first, x, () => 1000);
    const second = (await logMel({ fixedMax: first.peak })).stream();
    const exact = await logMel({ normalization: "exact" });
    expect(await pushAll(second, x, () => 500)).toEqual(await exact.transform(x));
    expect(() => exact.stream()).toThrow(
      expect.objectContaining({
        kind: "usage",
        code: "EXACT_NEEDS_WHOLE_SIGNAL",
        hint: expect.stringMatching(/fixed.*twice/),
      }),
    );
  });

  it("takes silence, and names its value", async () => {
    const silence = new Float32Array(4000);
    for (const [options, value] of [
      [{}, (1.5 - 8 + 4) / 4],
      [{ fixedMax: -5 }, (-10 + 4) / 4],
      [{ normalization: "running" }, (-10 + 4) / 4],
    ] as const) {
      const stream = (await logMel(options)).stream();
      const rows = await pushAll(stream, silence, () => 4000);
      expect(rows).toHaveLength(25 * 80);
      for (const v of rows) expect(v).toBeCloseTo(value, 5);
      expect(stream.silence).toBeCloseTo(value, 5);
    }
    const exact = await (await logMel({ normalization: "exact" })).transform(silence);
    for (const v of exact) expect(v).toBeCloseTo(-1.5, 5);
  });

  it("stays finite up to the greatest sample it takes, and refuses what lies beyond", async () => {
    const one = await logMel();
    const loud = sound(9, 800).map((v) => Math.fround(v * 2 ** 32));
    for (let i = 0; i < loud.length; i++) loud[i] = Math.max(-(2 ** 31), Math.min(2 ** 31, loud[i]!));
    expect((await one.transform(loud)).every(Number.isFinite)).toBe(true);
    const stream = one.stream({ start: 10 });
    await stream.push(sound(1, 1600));
    for (const [value, code] of [
      [Number.NaN, "SAMPLES_NOT_FINITE"],
      [Number.POSITIVE_INFINITY, "SAMPLES_NOT_FINITE"],
      [Number.NEGATIVE_INFINITY, "SAMPLES_NOT_FINITE"],
      [3e38, "SAMPLES_TOO_LARGE"],
      [-1e10, "SAMPLES_TOO_LARGE"],
    ] as const) {
      const bad = new Float32Array(100);
      bad[80] = value;
      const error = expect.objectContaining({ kind: "input", code, message: expect.stringContaining("10.1050 s") });
      await expect(stream.push(bad)).rejects.toEqual(error);
      await expect(one.transform(bad)).rejects.toMatchObject({ code });
    }
    // Nothing of the refused samples was taken in.
    const rest = await stream.finish();
    expect(rest).toEqual(await one.transform(sound(1, 1600)));
  });

  it("stops on a signal, and a stream that was stopped stays so", async () => {
    const controller = new AbortController();
    const one = await logMel();
    const stream = one.stream({ signal: controller.signal });
    await stream.push(sound(1, 3000));
    controller.abort();
    await expect(stream.push(sound(1, 3000))).rejects.toMatchObject({ code: "ABORTED" });
    await expect(one.transform(sound(1, 3000), { signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
  });

  it("takes one call at a time and none after the end", async () => {
    const stream = (await logMel()).stream();
    const first = stream.push(sound(1, 3000));
    await expect(stream.push(sound(1, 10))).rejects.toMatchObject({ code: "STREAM_NOT_OPEN" });
    await first;
    await stream.finish();
    for (const late of [stream.push(sound(1, 10)), stream.finish()]) {
      await expect(late).rejects.toMatchObject({ kind: "usage", code: "STREAM_NOT_OPEN" });
    }
  });

  it("refuses options and samples of other kinds", async () => {
    for (const options of [
      { melBins: 64 },
      { normalization: "none" },
      { fixedMax: Number.NaN },
      { chunkFrames: 1 },
      { chunkFrames: 2.5 },
      { bins: 80 },
    ]) {
      await expect(createLogMel(device, options as LogMelOptions)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    }
    const one = await logMel();
    for (const samples of [undefined, [0, 1], new Float64Array(400), new Int16Array(400)]) {
      await expect(one.transform(samples as unknown as Float32Array)).rejects.toMatchObject({ code: "INVALID_OPTION" });
      await expect(one.stream().push(samples as unknown as Float32Array)).rejects.toMatchObject({
        code: "INVALID_OPTION",
      });
    }
  });
});
