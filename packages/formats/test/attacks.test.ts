import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { KraitError } from "@krait/core";
import { describe, expect, it } from "vitest";
import { openSafetensors } from "../src/index.js";
import { type Attack, save, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const folder = new URL("./attacks/", import.meta.url);

async function refusal(path: string, limits = {}) {
  const error = await openSafetensors(path, { limits }).then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!KraitError.is(error)) return error;
  expect(error.hint).toBeTruthy();
  expect(error.message.length).toBeLessThan(1000);
  return { kind: error.kind, code: error.code };
}

for (const name of readdirSync(folder)) {
  const { attacks } = (await import(new URL(name, folder).href)) as { attacks: Attack[] };
  describe(`attack: ${name.replace(".ts", "")}`, () => {
    it.each(attacks)("$name", async ({ bytes, code, fileName, limits }) => {
      const path = await save(at(fileName ?? "model.safetensors"), bytes);
      expect(await refusal(path, limits)).toEqual({ kind: "input", code });
    });
  });
}

describe("attack: paths", () => {
  it("refuses a missing file, a directory, an empty file, a device and a pipe, without waiting on it", async () => {
    mkdirSync(at("folder.safetensors"));
    execFileSync("mkfifo", [at("pipe.safetensors")]);
    symlinkSync("/dev/zero", at("zero.safetensors"));
    await save(at("empty.safetensors"), new Uint8Array(0));
    expect(await refusal(at("missing.safetensors"))).toEqual({ kind: "input", code: "FILE_NOT_FOUND" });
    expect(await refusal(at("missing.pt"))).toEqual({ kind: "input", code: "PICKLE_REFUSED" });
    expect(await refusal(at("folder.safetensors"))).toEqual({ kind: "input", code: "NOT_A_FILE" });
    expect(await refusal(at("pipe.safetensors"))).toEqual({ kind: "input", code: "NOT_A_FILE" });
    expect(await refusal(at("zero.safetensors"))).toEqual({ kind: "input", code: "NOT_A_FILE" });
    expect(await refusal(at("empty.safetensors"))).toEqual({ kind: "input", code: "FILE_EMPTY" });
    expect(await refusal(at("empty.safetensors/below"))).toEqual({ kind: "input", code: "FILE_NOT_FOUND" });
    expect(await refusal("a\0b")).toEqual({ kind: "usage", code: "INVALID_OPTION" });
    expect(await refusal(undefined as unknown as string)).toEqual({ kind: "usage", code: "INVALID_OPTION" });
  });
});
