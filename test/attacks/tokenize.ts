import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { expect } from "vitest";
import { expectFault, krait } from "../command.js";

const args = (file: string, preset = "clip") => {
  const size = preset === "clip" ? ["--size", "16"] : [];
  return ["tokenize", file, "--preset", preset, ...size, "--out", "out.safetensors"];
};

/** A typed error with a hint, nothing on standard output, no file that was not there before. */
export async function expectTokenizeRefusal(
  folder: string,
  file: string,
  code: string | RegExp,
  preset?: string,
): Promise<void> {
  const before = (await readdir(folder)).sort();
  const finished = await krait(args(file, preset), { cwd: folder });
  expectFault(finished, code);
  expect(finished.code).toBe(3);
  expect(finished.stdout).toBe("");
  expect((await readdir(folder)).sort()).toEqual(before);
}

/** Start times of the rows. */
export async function tokenizeStarts(folder: string, file: string, preset?: string): Promise<number[]> {
  const { code, stderr } = await krait(args(file, preset), { cwd: folder });
  expect(code, stderr).toBe(0);
  await using written = await openSafetensors(join(folder, "out.safetensors"));
  return [...((await written.read("times")) as Float64Array)].filter((_, i) => i % 2 === 0);
}
