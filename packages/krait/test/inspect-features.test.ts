import { writeFile } from "node:fs/promises";
import { writeSafetensors } from "@krait/formats";
import { inspectFeatures } from "krait";
import { describe, expect, it } from "vitest";
import { folderOfTests } from "../../../test/fixtures.js";

const at = folderOfTests();
const features = { dtype: "f32", shape: [4, 2], data: new Float32Array(8) } as const;
const times = { dtype: "f64", shape: [4, 2], data: Float64Array.of(1, 1.5, 0.25, 4, 2, 2, 3, 3) } as const;

describe("inspectFeatures()", () => {
  it("tells tokens, dimensions, modalities, dtype and the span of time", async () => {
    const path = at("whole.safetensors");
    const modality = { dtype: "u8", shape: [4], data: Uint8Array.of(1, 2, 255, 254) } as const;
    await writeSafetensors(path, { features, times, modality }, { "model.name": "m" });
    expect(await inspectFeatures(path)).toEqual({
      kind: "features",
      tokens: 4,
      dim: 2,
      dtype: "f32",
      byModality: { text: 0, audio: 1, video: 1, class: 1, separator: 1 },
      span: { start: 0.25, end: 4 },
      metadata: { "model.name": "m" },
    });
  });

  it("takes the file of a front end, which names no modality", async () => {
    const path = at("front-end.safetensors");
    await writeSafetensors(path, { features, times });
    const report = await inspectFeatures(path);
    expect(report).toMatchObject({ tokens: 4, dim: 2 });
    expect(report).not.toHaveProperty("byModality");
  });

  it("refuses what holds no features with a typed error", async () => {
    const other = at("other.safetensors");
    await writeSafetensors(other, { weight: features });
    const words = at("words.txt");
    await writeFile(words, "These are words, not features.");
    const odd = at("odd.safetensors");
    const modality = { dtype: "u8", shape: [3], data: Uint8Array.of(1, 9, 255) } as const;
    await writeSafetensors(odd, { features, times, modality });
    for (const path of [other, words, odd]) {
      await expect(inspectFeatures(path)).rejects.toMatchObject({ code: "NOT_A_FEATURE_FILE", kind: "input" });
    }
    await expect(inspectFeatures(at("none"))).rejects.toMatchObject({ code: "FILE_NOT_FOUND", kind: "input" });
  });
});
