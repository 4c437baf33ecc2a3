import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { interleave } from "../../src/sequence/index.js";
import { createTextTokenizer, readTextSource, textSource } from "../../src/text/index.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-text-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(bytes: string | Uint8Array, limits = {}) {
  const file = join(folder, "text.txt");
  await writeFile(file, bytes);
  return readTextSource({ file }, { limits });
}

describe("readTextSource", () => {
  it("reads UTF-8 as it stands, without its byte order mark", async () => {
    expect(await read("日本\r\n\u0000é\ufeff")).toBe("日本\r\n\u0000é\ufeff");
    expect(await read("\ufeff\ufeffa")).toBe("\ufeffa");
    expect(await readTextSource({ text: "\ufeffa" })).toBe("\ufeffa");
    expect(await readTextSource({ text: "" })).toBe("");
  });

  it("names the byte at which a file is no UTF-8", async () => {
    const error = await read(Uint8Array.of(0x61, 0xc3, 0xa9, 0xed, 0xa0, 0x80)).catch((e) => e);
    expect(error).toMatchObject({ kind: "input", code: "TEXT_NOT_UTF8", message: expect.stringContaining("offset 3") });
    await expect(read(Buffer.from("\ufeffhello", "utf16le"))).rejects.toMatchObject({ code: "TEXT_NOT_UTF8" });
  });

  it("refuses half characters in strings, long texts, and what is no file", async () => {
    await expect(readTextSource({ text: "ab\ud800" })).rejects.toMatchObject({
      kind: "input",
      code: "TEXT_NOT_UNICODE",
    });
    await expect(read("ééé", { maxTextBytes: 5 })).rejects.toMatchObject({ code: "TEXT_TOO_LONG" });
    await expect(readTextSource({ text: "ééé" }, { limits: { maxTextBytes: 5 } })).rejects.toMatchObject({
      code: "TEXT_TOO_LONG",
    });
    await expect(readTextSource({ text: 5 as unknown as string })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(read("")).rejects.toMatchObject({ code: "FILE_EMPTY" });
    await expect(readTextSource({ file: folder })).rejects.toMatchObject({ code: "NOT_A_FILE" });
    await expect(readTextSource({ file: join(folder, "none") })).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("textSource", () => {
  it("stands in the flat sequence: a string without times, phrases with theirs", async () => {
    const tokenizer = await createTextTokenizer({ kind: "bytes" });
    const phrases = [
      { start: 0.5, end: 1, text: "ab" },
      { start: 3, end: 3.5, text: "c" },
    ];
    const rows: number[][] = [];
    for await (const part of interleave([textSource(tokenizer, "é"), textSource(tokenizer, phrases)])) {
      if (part.modality === 255) rows.push([255, part.time]);
      else
        for (let i = part.from; i < part.to; i++)
          rows.push([part.modality, part.block.payload[i]!, part.block.start[i]!, part.block.end[i]!]);
    }
    expect(rows).toEqual([
      [0, 0xc3, 0, 0],
      [0, 0xa9, 0, 0],
      [255, 0],
      [0, 0x61, 0.5, 1],
      [0, 0x62, 0.5, 1],
      [255, 2],
      [0, 0x63, 3, 3.5],
    ]);
  });
});
