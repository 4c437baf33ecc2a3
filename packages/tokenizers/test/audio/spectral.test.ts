import { fileURLToPath } from "node:url";
import { openSafetensors } from "@krait/formats";
import type { Device } from "@krait/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  astDefinition,
  createSpectral,
  type FrameStream,
  type KaldiOptions,
  kaldiDefinition,
  type MelOptions,
  melDefinition,
  parakeetDefinition,
  type SpectralDefinition,
  type SpectralFrontEnd,
  seamlessDefinition,
  whisperDefinition,
} from "../../src/audio/index.js";
import { devices, random, relativeRms } from "../devices.js";
import { pushAll, readGolden, sound } from "./helpers.js";
import { plainKaldi, plainMel, plainParakeet, plainStandard } from "./plain.js";

async function readKaldi() {
  const path = fileURLToPath(new URL("../fixtures/audio/kaldi.safetensors", import.meta.url));
  await using file = await openSafetensors(path);
  const tensors: Record<string, Float32Array> = {};
  for (const name of file.tensors.keys()) tensors[name] = await file.readFloat32(name);
  return tensors;
}
const golden = await readKaldi();
const whisper = await readGolden();

/** Every front end, for what must hold of all. */
const all: [string, SpectralDefinition][] = [
  ["kaldi hanning", kaldiDefinition({ melBins: 128, window: "hanning" })],
  ["kaldi povey times 32768", kaldiDefinition({ gain: 32768 })],
  ["kaldi without snipped edges", kaldiDefinition({ snipEdges: false })],
  ["kaldi less the mean so far", kaldiDefinition({ subtractMean: "running" })],
  ["kaldi less the mean", kaldiDefinition({ subtractMean: "exact" })],
  ["ast", astDefinition({ frames: 60 })],
  ["seamless", seamlessDefinition()],
  ["whisper exact", whisperDefinition(80)],
  ["whisper fixed", whisperDefinition(80, { mode: "fixed" })],
  ["whisper running", whisperDefinition(128, { mode: "running" })],
  ["parakeet exact", parakeetDefinition()],
  ["parakeet fixed", parakeetDefinition({ melBins: 128, mode: "fixed" })],
  ["parakeet running", parakeetDefinition({ mode: "running" })],
  ["plain mel", melDefinition()],
  ["plain mel, whole frames", melDefinition({ centred: false })],
];

describe.each(devices)("spectral front ends on %s", (_, open) => {
  let device: Device;
  const made: SpectralFrontEnd[] = [];
  beforeAll(async () => {
    device = await open();
  });
  afterAll(async () => {
    for (const one of made) one.close();
    await device?.close();
  });
  const load = async (definition: SpectralDefinition, chunkFrames = 16) => {
    const one = await createSpectral(device, definition, { chunkFrames });
    made.push(one);
    return one;
  };
  const rows = async (definition: SpectralDefinition, x: Float32Array) => (await load(definition)).transform(x);

  it.each([
    ["kaldi_fbank128_hanning", kaldiDefinition({ melBins: 128, window: "hanning" })],
    ["kaldi_fbank128_povey", kaldiDefinition({ melBins: 128 })],
    ["kaldi_fbank80_povey_int16scale", kaldiDefinition({ gain: 32768 })],
  ] as const)("gives torchaudio's %s", async (name, definition) => {
    expect(relativeRms(await rows(definition, golden.wave16k!), golden[name]!)).toBeLessThan(1e-5);
  });

  it("gives ASTFeatureExtractor's rows, padding included", async () => {
    const ast = await rows(astDefinition(), golden.wave16k!);
    const first = golden["ast.first"]!;
    expect(ast).toHaveLength(1024 * 128);
    expect(relativeRms(ast.subarray(0, first.length), first)).toBeLessThan(1e-5);
    for (let at = first.length; at < ast.length; at += 128) {
      expect(relativeRms(ast.subarray(at, at + 128), golden["ast.last"]!)).toBeLessThan(1e-6);
    }
  });

  it("gives Whisper's", async () => {
    expect(relativeRms(await rows(whisperDefinition(80), whisper.wave), whisper.unpadded80)).toBeLessThan(1e-5);
    expect(relativeRms(await rows(whisperDefinition(128), whisper.wave), whisper.unpadded128)).toBeLessThan(1e-5);
  });

  it.each([
    ["hamming, no pre-emphasis", { window: "hamming", preEmphasis: 0 }, { window: "hamming", preEmphasis: 0 }],
    ["the mean left in", { removeDc: false }, { removeDc: false }],
    ["100 to 7600 Hz", { lowHertz: 100, highHertz: -400 }, { low: 100, high: -400 }],
    ["a rate of 44,100 Hz", { sampleRate: 44100, window: "rectangular" }, { rate: 44100, window: "rectangular" }],
    ["mirrored edges", { snipEdges: false }, { snipEdges: false }],
  ] as [string, KaldiOptions, object][])("is Kaldi's definition with %s", async (_, options, plain) => {
    // A strong offset: what the folded matrix must take away.
    const x = sound(11, 5000).map((v) => v + 0.25);
    const wanted = plainKaldi(x, { bins: 40, window: "povey", ...plain });
    expect(relativeRms(await rows(kaldiDefinition({ melBins: 40, ...options }), x), wanted)).toBeLessThan(1e-5);
  });

  it.each([1, 79, 80, 239, 240, 399, 2640])("mirrors the edges of %i samples as torchaudio does", async (length) => {
    const x = sound(length, length);
    const got = await rows(kaldiDefinition({ melBins: 20, snipEdges: false }), x);
    expect(got).toHaveLength(Math.floor((length + 80) / 160) * 20);
    // torchaudio itself needs as many samples as it mirrors.
    if (length < 400) return;
    expect(relativeRms(got, plainKaldi(x, { bins: 20, window: "povey", snipEdges: false }))).toBeLessThan(1e-5);
  });

  it("subtracts the mean over the signal where asked to", async () => {
    const x = sound(4, 4000);
    const got = await rows(kaldiDefinition({ melBins: 20, subtractMean: "exact" }), x);
    for (let b = 0; b < 20; b++) {
      let sum = 0;
      for (let at = b; at < got.length; at += 20) sum += got[at]!;
      expect(Math.abs(sum / (got.length / 20))).toBeLessThan(1e-5);
    }
  });

  it.each([160, 319, 400, 2719, 2760, 4000])("is NeMo's definition for %i samples", async (length) => {
    const x = sound(length, length);
    const wanted = plainParakeet(x, 80);
    const fixed = await rows(
      parakeetDefinition({ mode: "fixed", mean: new Float64Array(80), std: new Float64Array(80).fill(1 - 1e-5) }),
      x,
    );
    expect(relativeRms(fixed, wanted)).toBeLessThan(1e-5);
    const exact = await rows(parakeetDefinition(), x);
    if (length < 320) expect(exact.every((v) => v === 0)).toBe(true);
    else expect(relativeRms(exact, plainStandard(wanted, 80))).toBeLessThan(1e-4);
  });

  it("normalises each row by what was heard up to it when running", async () => {
    const x = sound(21, 2400);
    const plain = plainParakeet(x, 80);
    const got = await rows(parakeetDefinition({ mode: "running" }), x);
    for (const frame of [0, 1, 7, 14]) {
      const heard = plain.subarray(0, (frame + 1) * 80);
      const wanted = plainStandard(heard, 80).subarray(frame * 80);
      if (frame === 0) expect(got.subarray(0, 80).every((v) => v === 0)).toBe(true);
      else expect(relativeRms(got.subarray(frame * 80, frame * 80 + 80), wanted)).toBeLessThan(1e-4);
    }
  });

  it("normalises as SeamlessM4T does", async () => {
    const x = sound(22, 4000);
    const plain = plainKaldi(x, { bins: 80, window: "povey", gain: 32768 });
    expect(relativeRms(await rows(seamlessDefinition(), x), plainStandard(plain, 80, undefined, 1e-9))).toBeLessThan(
      1e-4,
    );
  });

  it("gives librosa's plain mel", async () => {
    const x = sound(23, 3000);
    const got = await rows(
      melDefinition({ melBins: 32, sampleRate: 22050, windowSize: 512, fftSize: 512, hop: 200 }),
      x,
    );
    expect(relativeRms(got, plainMel(x, 32, 22050, 512, 200))).toBeLessThan(1e-5);
    const decibel = { melBins: 32, sampleRate: 22050, windowSize: 512, hop: 200, log: "decibel" } satisfies MelOptions;
    const scaled = plainMel(x, 32, 22050, 512, 200).map((v) => (10 * v) / Math.LN10);
    expect(relativeRms(await rows(melDefinition(decibel), x), scaled)).toBeLessThan(1e-5);
  });

  it.each(all)("streams the whole's very bits however it is cut: %s", async (_, definition) => {
    const one = await load(definition);
    for (const length of [0, 130, 2641, 5777]) {
      const x = sound(length, length);
      const whole = await one.transform(x);
      expect(whole).toHaveLength(one.frames(length) * one.bins);
      const rng = random(length + 1);
      for (const cut of [() => 1 + (length > 3000 ? 99 : 0), () => length, () => Math.floor(rng() * 900)]) {
        const survey = one.needsSurvey ? one.survey() : undefined;
        if (survey) await pushAll(survey.stream as FrameStream, x, () => 333);
        const stream = one.stream({ statistics: survey?.statistics });
        expect(await pushAll(stream, x, cut)).toEqual(whole);
      }
    }
  });

  it("wants the statistics of a first pass for exact numbers", async () => {
    const one = await load(parakeetDefinition());
    expect(() => one.stream()).toThrow(expect.objectContaining({ code: "EXACT_NEEDS_WHOLE_SIGNAL" }));
  });

  it("takes silence and an offset without an infinite value", async () => {
    for (const [, definition] of all) {
      for (const level of [0, 0.5]) {
        const got = await rows(definition, new Float32Array(3000).fill(level));
        expect(got.every(Number.isFinite)).toBe(true);
      }
    }
  });
});

describe("definitions", () => {
  it.each([
    () => kaldiDefinition({ melBins: 0 }),
    () => kaldiDefinition({ lowHertz: 9000 }),
    () => kaldiDefinition({ highHertz: 9000 }),
    () => kaldiDefinition({ frameShift: 0.05 }),
    () => kaldiDefinition({ dither: 1 } as KaldiOptions),
    () => melDefinition({ fftSize: 256 }),
    () => melDefinition({ hop: 500 }),
    () => melDefinition({ highHertz: 9000 }),
  ])("refuse what they cannot be (%#)", (make) => {
    expect(make).toThrow(expect.objectContaining({ kind: "usage", code: "INVALID_OPTION" }));
  });
});
