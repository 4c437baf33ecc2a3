import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compiled, emptyFolder, expectRefusal, krait } from "../command.js";
import { element, findElement, words } from "./boxes.js";
import { ffmpeg, picture } from "./clip.js";
import { plantModel, smallConfig } from "./models.js";
import { expectTokenizeRefusal, tokenizeStarts } from "./tokenize.js";

const levels = 100_000;
const deepJson = `${"[".repeat(levels)}${"]".repeat(levels)}`;

describe.skipIf(!compiled)("a hundred thousand levels", () => {
  it.each(["moov", "udta"])("of %s boxes in an mp4 are refused", async (type) => {
    const folder = await emptyFolder();
    const boxes = Array.from({ length: levels }, (_, i) => {
      return Buffer.concat([words(8 * (levels - i)), Buffer.from(i === 0 ? "moov" : type)]);
    });
    const head = Buffer.concat([words(16), Buffer.from("ftypisom"), words(512)]);
    writeFileSync(join(folder, "deep.mp4"), Buffer.concat([head, ...boxes]));
    await expectTokenizeRefusal(folder, "deep.mp4", "MEDIA_INVALID");
  });

  it("of tags in a Matroska file are passed over", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v mpeg4 clip.mkv`);
    const file = readFileSync(join(folder, "clip.mkv"));
    // Each holds all that follow: the lengths alone make the depth.
    const tags = Array.from({ length: levels }, (_, i) => {
      const head = Buffer.from("67c8010000000000000000", "hex").subarray(0, 10);
      head.writeUIntBE(10 * (levels - 1 - i), 4, 6);
      return head;
    });
    const clusters = file.indexOf(Buffer.from("1f43b675", "hex"), findElement(file, "1654ae6b").end);
    const segment = file.indexOf(Buffer.from("18538067", "hex"));
    const changed = [
      file.subarray(0, segment),
      Buffer.from("1853806701ffffffffffffff", "hex"),
      element("1254c367", element("7373", ...tags)),
      file.subarray(segment + 12, clusters),
      file.subarray(clusters),
    ];
    writeFileSync(join(folder, "deep.mkv"), Buffer.concat(changed));
    expect(await tokenizeStarts(folder, "deep.mkv")).toHaveLength(25);
  });

  it("of brackets in a model's config are refused", async () => {
    const folder = await emptyFolder();
    const config = JSON.stringify({ ...smallConfig, extra: 0 }).replace('"extra":0', `"extra":${deepJson}`);
    await plantModel(folder, { "config.json": Buffer.from(config), "model.safetensors": Buffer.alloc(64) });
    await expectRefusal(folder, ["--text", "words", "--model", "model"], {
      code: /^(INVALID_JSON|INVALID_CONFIG|JSON_.+)$/,
    });
  });

  it("of brackets in a tokenizer are refused", async () => {
    const folder = await emptyFolder();
    writeFileSync(join(folder, "notes.txt"), "words");
    writeFileSync(join(folder, "tokenizer.json"), deepJson);
    const args = [
      "tokenize",
      "notes.txt",
      "--preset",
      "text",
      "--tokenizer",
      "tokenizer.json",
      "--out",
      "out.safetensors",
    ];
    const { code, stderr } = await krait(args, { cwd: folder });
    expect(code, stderr).toBe(3);
    expect(stderr).toMatch(/\[[A-Z_]*(JSON|TOKENIZER)[A-Z_]*\]\n$/);
  });
});
