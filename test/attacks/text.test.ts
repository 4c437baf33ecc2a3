import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectRefusal, krait } from "../command.js";
import { tinyConfig } from "../fixtures.js";

const megabyte = 2 ** 20;

/** Bytes that stand behind what is looked at to tell text from other files. */
const late = (...bytes: number[]) => Buffer.concat([Buffer.alloc(megabyte, "word "), Buffer.from(bytes)]);

const broken = {
  "a lone surrogate": late(0xed, 0xa0, 0x80),
  "an overlong form": late(0xc0, 0xaf),
  "a byte that never occurs": late(0xff),
  "a character cut short at the end": late(0xf0, 0x9f, 0x98),
  "a value above U+10FFFF": late(0xf4, 0x90, 0x80, 0x80),
};

describe.skipIf(!compiled)("text with", () => {
  it.skipIf(!canEncode).each(Object.entries(broken))("%s is refused with its place", async (_, bytes) => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "words.txt"), bytes);
    await expectRefusal(folder, ["words.txt"], { code: "TEXT_NOT_UTF8" });
  });

  it("the byte order mark of UTF-16 is no text", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "words.txt"), Buffer.from("\ufeffSome words", "utf16le"));
    await expectRefusal(folder, ["words.txt"], { code: /^(MEDIA_INVALID|TEXT_NOT_UTF8)$/ });
  });

  it("more bytes than the limit is refused", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "words.txt"), Buffer.alloc(257 * megabyte, "a"));
    await expectRefusal(folder, ["words.txt"], { code: "TEXT_TOO_LONG" });
  });
});

describe.skipIf(!canEncode)("text", () => {
  const encoded = async (bytes: Uint8Array) => {
    const folder = await emptyFolder();
    await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
    await writeFile(join(folder, "words.txt"), bytes);
    const args = ["encode", "words.txt", "--model", "model", "--no-page", "--json", "--out", "out.safetensors"];
    const finished = await krait(args, { cwd: folder });
    expect(finished.code, finished.stderr).toBe(0);
    return JSON.parse(finished.stdout).byModality.text as number;
  };

  it("loses a byte order mark in front, and no other", async () => {
    expect(await encoded(Buffer.from("\ufeffab\ufeff"))).toBe(5);
  });

  it("keeps a NUL behind its beginning as a token", async () => {
    expect(await encoded(Buffer.concat([Buffer.alloc(70_000, "word "), Buffer.from([0, 0x61])]))).toBe(70_002);
  });

  it("of a hundred megabytes without a space is counted in bounded memory", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "words.txt"), Buffer.alloc(100 * megabyte, "abcdefgh"));
    const { code, stdout, stderr, peakBytes } = await krait(["estimate", "words.txt", "--json"], { cwd: folder });
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout).tokens).toBe(100 * megabyte);
    // The file as bytes and as a string, beside the process.
    expect(peakBytes).toBeLessThan(700 * megabyte);
  });
});
