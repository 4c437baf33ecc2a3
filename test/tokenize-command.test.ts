import { execFileSync } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectFault, krait } from "./command.js";

const makeTone = (folder: string) =>
  execFileSync("ffmpeg", [
    "-v",
    "error",
    "-f",
    "lavfi",
    "-i",
    "sine=frequency=440:duration=3",
    join(folder, "in.flac"),
  ]);

describe.skipIf(!compiled)("krait tokenize", () => {
  it("lists the front ends", async () => {
    const { code, stdout } = await krait(["tokenize", "--list"]);
    expect(code).toBe(0);
    for (const name of ["whisper-80", "kaldi-povey-80", "ast", "parakeet-80", "clip", "vivit", "text"]) {
      expect(stdout).toMatch(new RegExp(`^${name} `, "m"));
    }
    const json = JSON.parse((await krait(["tokenize", "--list", "--json"])).stdout);
    expect(json).toContainEqual({ name: "ast", modality: "audio", about: expect.any(String) });
  });

  it.skipIf(!canEncode)("writes features and times", async () => {
    const folder = await emptyFolder();
    makeTone(folder);
    const args = [
      "tokenize",
      "in.flac",
      "--preset",
      "parakeet-80",
      "--normalization",
      "exact",
      "--out",
      "o.safetensors",
    ];
    const { code, stdout, stderr } = await krait([...args, "--json"], { cwd: folder });
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ out: "o.safetensors", preset: "parakeet-80", tokens: 300, dim: 80 });
    await using file = await openSafetensors(join(folder, "o.safetensors"));
    expect(file.tensors.get("features")).toMatchObject({ dtype: "f32", shape: [300, 80] });
    expect(file.tensors.get("times")).toMatchObject({ dtype: "f64", shape: [300, 2] });
  });

  it("writes the ids of a text", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "in.txt"), "aé");
    const { code } = await krait(["tokenize", "in.txt", "--preset", "bytes", "--out", "o.safetensors"], {
      cwd: folder,
    });
    expect(code).toBe(0);
    await using file = await openSafetensors(join(folder, "o.safetensors"));
    expect([...((await file.read("ids")) as Int32Array)]).toEqual([0x61, 0xc3, 0xa9]);
  });

  it("refuses a wrong preset, a missing file and an output that is the input", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "in.txt"), "words");
    for (const [args, code, exit] of [
      [["in.txt", "--preset", "wisper", "--out", "o"], "PRESET_UNKNOWN", 2],
      [["no.txt", "--preset", "bytes", "--out", "o"], "FILE_NOT_FOUND", 3],
      [["in.txt", "--preset", "bytes", "--out", "in.txt"], "OUTPUT_CLASH", 2],
    ] as const) {
      const finished = await krait(["tokenize", ...args], { cwd: folder });
      expectFault(finished, code);
      expect(finished.code).toBe(exit);
      expect(await readdir(folder)).toEqual(["in.txt"]);
    }
  });
});
