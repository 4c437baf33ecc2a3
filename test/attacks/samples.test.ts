import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { describe, expect, it } from "vitest";
import { canEncode, emptyFolder, expectFault, krait } from "../command.js";
import { tinyConfig } from "../fixtures.js";
import { ffmpeg } from "./clip.js";
import { wavFile } from "./wav.js";

/** A second of a quiet tone, with one sample of another kind in its middle. */
function floats(odd: number): Uint8Array {
  const samples = Float32Array.from({ length: 16000 }, (_, i) => 0.1 * Math.sin(i / 5));
  samples[8000] = odd;
  return new Uint8Array(samples.buffer);
}

const encode = ["encode", "sound.wav", "--model", "model", "--no-page", "--out", "out.safetensors"];

describe.skipIf(!canEncode)("samples", () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("of %s are refused", async (odd) => {
    const folder = await emptyFolder();
    await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
    await writeFile(join(folder, "sound.wav"), wavFile({ tag: 3, bits: 32, data: floats(odd) }));
    ffmpeg(folder, "-i sound.wav -c:a pcm_f32le sound.mkv");
    for (const name of ["sound.wav", "sound.mkv"]) {
      const finished = await krait(["encode", name, ...encode.slice(2)], { cwd: folder });
      expectFault(finished, "SAMPLES_NOT_FINITE");
      expect(finished.code).toBe(3);
      expect(finished.stderr).toContain("0.5000 s");
    }
  });

  it("far outside of full scale are refused", async () => {
    const folder = await emptyFolder();
    await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
    await writeFile(join(folder, "sound.wav"), wavFile({ tag: 3, bits: 32, data: floats(3e38) }));
    expectFault(await krait(encode, { cwd: folder }), "SAMPLES_TOO_LARGE");
  });

  it.each([
    ["denormal numbers", () => Float32Array.from({ length: 160_000 }, (_, i) => (i % 2 ? 1e-41 : -1e-42))],
    ["pure silence", () => new Float32Array(160_000)],
    ["negative zeros", () => new Float32Array(160_000).fill(-0)],
  ])("of %s give finite features", async (_, samples) => {
    const folder = await emptyFolder();
    await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
    const data = new Uint8Array(samples().buffer);
    await writeFile(join(folder, "sound.wav"), wavFile({ tag: 3, bits: 32, data }));
    const { code, stderr } = await krait(encode, { cwd: folder });
    expect(code, stderr).toBe(0);
    await using written = await openSafetensors(join(folder, "out.safetensors"));
    const features = (await written.read("features")) as Float32Array;
    expect(features.length).toBeGreaterThan(100 * 32);
    expect(features.every(Number.isFinite)).toBe(true);
  });
});
