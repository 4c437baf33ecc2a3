import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { tokenizeStarts } from "./tokenize.js";

/** hh:mm:ss,mmm */
const clock = (ms: number) => new Date(ms).toISOString().slice(11, 23).replace(".", ",");

describe.skipIf(!compiled)("a hundred thousand cues that overlap", () => {
  it("change nothing in the pictures beside them", async () => {
    const folder = await emptyFolder();
    const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args], { cwd: folder });
    const cues = Array.from({ length: 100_000 }, (_, i) => {
      return `${i + 1}\n${clock(i % 1900)} --> ${clock((i % 1900) + 5000)}\ncue ${i}\n\n`;
    });
    await writeFile(join(folder, "cues.srt"), cues.join(""));
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2", "-c:v", "mpeg4", "plain.mkv");
    ffmpeg(
      "-i",
      "plain.mkv",
      "-i",
      "cues.srt",
      "-map",
      "0:v",
      "-map",
      "1:s",
      "-c:v",
      "copy",
      "-c:s",
      "srt",
      "cues.mkv",
    );
    const starts = await tokenizeStarts(folder, "plain.mkv");
    expect(starts).toHaveLength(20);
    expect(await tokenizeStarts(folder, "cues.mkv")).toEqual(starts);
  });
});
