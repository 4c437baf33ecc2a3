import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { editBoxes, element, findElement, words } from "./boxes.js";
import { ffmpeg, picture } from "./clip.js";
import { expectTokenizeRefusal } from "./tokenize.js";

const billion = 1_000_000_000;

/** What stands in each table of an mp4's index: a count of a billion, and often an entry that is worth as many. */
const lies: Record<string, (type: string, content: Buffer) => Buffer> = {
  "sizes, all the same": (type, content) => (type === "stsz" ? words(0, 1, billion) : content),
  "sizes, durations and chunks, in one entry each": (type, content) => {
    if (type === "stsz") return words(0, 1, billion);
    if (type === "stts") return words(0, 1, billion, 1);
    return type === "stsc" ? words(0, 1, 1, billion, 1) : content;
  },
  ...Object.fromEntries(
    ["stts", "stsc", "stco", "stss", "ctts"].map((table) => [
      `${table}, most of which are missing`,
      (type: string, content: Buffer) => {
        return type === table ? Buffer.concat([words(0, billion), content.subarray(8)]) : content;
      },
    ]),
  ),
};

describe.skipIf(!compiled)("an mp4 that declares a billion entries of", () => {
  it.each(Object.keys(lies))("%s is refused", async (name) => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(2)} -c:v libx264 -bf 2 clip.mp4`);
    const path = join(folder, "clip.mp4");
    writeFileSync(path, editBoxes(readFileSync(path), lies[name] as (type: string, content: Buffer) => Buffer));
    await expectTokenizeRefusal(folder, "clip.mp4", "MEDIA_INVALID");
  });
});

describe.skipIf(!compiled)("ten thousand streams", () => {
  it("in an mp4 are refused", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v mpeg4 clip.mp4`);
    const path = join(folder, "clip.mp4");
    const many = editBoxes(readFileSync(path), (type, content) => {
      if (type !== "moov") return content;
      const at = content.indexOf("trak") - 4;
      const track = content.subarray(at, at + content.readUInt32BE(at));
      return Buffer.concat([content, ...Array.from({ length: 10_000 }, () => track)]);
    });
    writeFileSync(path, many);
    await expectTokenizeRefusal(folder, "clip.mp4", "MEDIA_TOO_MANY_STREAMS");
  });

  it("in a Matroska file are refused", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v mpeg4 clip.mkv`);
    const path = join(folder, "clip.mkv");
    const file = readFileSync(path);
    const tracks = findElement(file, "1654ae6b");
    const track = findElement(file.subarray(0, tracks.end), "ae");
    const entry = file.subarray(track.at, track.end);
    const many = element("1654ae6b", ...Array.from({ length: 10_000 }, () => entry));
    writeFileSync(path, Buffer.concat([file.subarray(0, tracks.at), many, file.subarray(tracks.end)]));
    await expectTokenizeRefusal(folder, "clip.mkv", "MEDIA_TOO_MANY_STREAMS");
  });
});

describe.skipIf(!compiled)("a video that declares 65,535 × 65,535 pixels", () => {
  it("is refused by its header", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v rawvideo clip.avi`);
    const path = join(folder, "clip.avi");
    const file = readFileSync(path);
    const format = file.indexOf("strf") + 8;
    file.writeInt32LE(65_535, format + 4);
    file.writeInt32LE(65_535, format + 8);
    writeFileSync(path, file);
    await expectTokenizeRefusal(folder, "clip.avi", "MEDIA_TOO_LARGE");
  });

  it("in an mp4 is refused by its header", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v libx264 clip.mp4`);
    const path = join(folder, "clip.mp4");
    const file = editBoxes(readFileSync(path), (type, content) => {
      if (type !== "stsd") return content;
      const changed = Buffer.from(content);
      const entry = changed.indexOf("avc1") + 4;
      changed.writeUInt16BE(65_535, entry + 24);
      changed.writeUInt16BE(65_535, entry + 26);
      // Without the parameter sets nothing says otherwise.
      return Buffer.from(changed.toString("latin1").replace("avcC", "free"), "latin1");
    });
    writeFileSync(path, file);
    await expectTokenizeRefusal(folder, "clip.mp4", "MEDIA_TOO_LARGE");
  });
});
