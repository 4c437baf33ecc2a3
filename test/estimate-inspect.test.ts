import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { describe, expect, it } from "vitest";
import { canEncode, emptyFolder, krait } from "./command.js";
import { makeClip, tinyConfig } from "./fixtures.js";

/** The last line of standard output, which must be one JSON object. */
async function jsonOf(args: string[], cwd: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await krait(args, { cwd });
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
}

async function folderWithModel(): Promise<string> {
  const folder = await emptyFolder();
  await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
  return folder;
}

describe.skipIf(!canEncode)("krait estimate and krait inspect", () => {
  it("tell before an encoding what it takes, and after it the same of its files", async () => {
    const folder = await folderWithModel();
    makeClip(join(folder, "clip.mkv"), { seconds: 3 });
    const what = ["clip.mkv", "--model", "model", "--fps", "4"];
    const told = await jsonOf(["estimate", ...what, "--compare", "attention", "--json"], folder);
    expect(told).toMatchObject({ seconds: expect.closeTo(3, 1), peakBytes: expect.any(Number) });
    const comparison = told.comparison as { tokens: number; stateBytes: number; keyValueBytes: number }[];
    expect([comparison[0]!.tokens, comparison.at(-1)!.tokens]).toEqual([1024, 2 ** 20]);
    expect(comparison.at(-1)!.keyValueBytes).toBe(1024 * comparison[0]!.keyValueBytes);
    const { stdout } = await krait(["estimate", ...what, "--compare", "attention"], { cwd: folder });
    expect(stdout.match(/^ *[\d,]+ .*B/gm)).toHaveLength(comparison.length);
    for (const out of ["f.safetensors", "f.npy"]) {
      const encoded = await jsonOf(["encode", ...what, "--out", out, "--no-page", "--json"], folder);
      expect(encoded.tokens).toBe(told.tokens);
      const found = await jsonOf(["inspect", out, "--json"], folder);
      expect(found).toMatchObject({ kind: "features", tokens: told.tokens, dim: 32, byModality: encoded.byModality });
    }
  });

  it("know that words take no time", async () => {
    const folder = await folderWithModel();
    await writeFile(join(folder, "words.txt"), "Nine words");
    const told = await jsonOf(["estimate", "words.txt", "--model", "model", "--json"], folder);
    expect(told).toMatchObject({ tokens: 10, seconds: 0 });
  });

  it("tell what an encoder of our own is", async () => {
    const folder = await folderWithModel();
    const found = await jsonOf(["inspect", "model", "--json"], folder);
    const weights = { kind: "model", tokens: null, dim: 32, layout: "M2 A M2", inputs: ["video", "audio", "text"] };
    expect(found).toMatchObject(weights);
    const { stored, f32, bf16 } = found.bytes as Record<string, number>;
    expect(stored).toBe(4 * (found.parameters as number));
    expect(f32).toBeGreaterThanOrEqual(stored!);
    expect(bf16).toBeLessThan(f32!);
    expect((await krait(["inspect", "model"], { cwd: folder })).stdout).toContain("takes video, audio, text");
  });
});
