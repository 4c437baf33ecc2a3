import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeFile, loadEncoder, type Source, textFile } from "krait";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { built, tiny } from "../../../test/fixtures.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.skipIf(!built)("what encodeFile() and encode() refuse", () => {
  const withEncoder = async (work: (encoder: Awaited<ReturnType<typeof loadEncoder>>) => Promise<void>) => {
    const encoder = await loadEncoder(tiny, { device: "cpu" });
    try {
      await work(encoder);
    } finally {
      await encoder.close();
    }
  };

  test("results in the place of an input or of each other, with the input as it was", async () => {
    const words = join(folder, "words.txt");
    await writeFile(words, "as it was");
    const elsewhere = join(folder, "features.safetensors");
    await withEncoder(async (encoder) => {
      for (const job of [{ out: words }, { out: elsewhere, page: words }, { out: elsewhere, page: elsewhere }]) {
        const encoding = encodeFile(encoder, [textFile(words)], job);
        await expect(encoding).rejects.toMatchObject({ code: "OUTPUT_CLASH", kind: "usage" });
      }
    });
    expect(await readFile(words, "utf8")).toBe("as it was");
  });

  test.each<[string, unknown, string]>([
    ["a path", "talk.mp4", "NO_SOURCES"],
    ["nothing", undefined, "NO_SOURCES"],
    ["a list of paths", ["talk.mp4"], "INVALID_OPTION"],
    ["a hole", [undefined], "INVALID_OPTION"],
  ])("%s as sources", async (_, sources, code) => {
    await withEncoder(async (encoder) => {
      await expect(encoder.encode(sources as Source[])).rejects.toMatchObject({ code, kind: "usage" });
      await expect(encoder.predict(sources as Source[])).rejects.toMatchObject({ code, kind: "usage" });
    });
  });
});
