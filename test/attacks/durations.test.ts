import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectFault, krait } from "../command.js";
import { editBoxes } from "./boxes.js";
import { ffmpeg, picture } from "./clip.js";
import { expectTokenizeRefusal, tokenizeStarts } from "./tokenize.js";

/** Writes a clip of a second whose headers say that it is so many seconds long. */
function clipOf(folder: string, kind: "mp4" | "mkv", seconds: number): void {
  ffmpeg(folder, `${picture(1)} -c:v mpeg4 clip.${kind}`);
  const path = join(folder, `clip.${kind}`);
  const file = readFileSync(path);
  if (kind === "mkv") {
    // Duration, milliseconds as a double.
    const at = file.indexOf(Buffer.from("448988", "hex"));
    expect(at).toBeGreaterThan(0);
    file.writeDoubleBE(seconds * 1000, at + 3);
    const tag = file.indexOf("DURATION");
    if (tag > 0) file.write("IGNORED_", tag);
    writeFileSync(path, file);
    return;
  }
  const changed = editBoxes(file, (type, content) => {
    if (type === "edts") return Buffer.alloc(0);
    if (type !== "mvhd" && type !== "mdhd" && type !== "tkhd") return content;
    // Version 1: all times in 64 bits.
    const wide = Buffer.alloc(content.length + 12);
    wide.writeUInt8(1, 0);
    content.copy(wide, 1, 1, 4);
    wide.writeUInt32BE(content.readUInt32BE(12), 20); // time scale, or the track's id
    if (type === "tkhd") wide.writeBigUInt64BE(BigInt(seconds) * 1000n, 28);
    else wide.writeBigUInt64BE(BigInt(seconds) * BigInt(content.readUInt32BE(12)), 24);
    content.copy(wide, type === "tkhd" ? 36 : 32, type === "tkhd" ? 24 : 20);
    return wide;
  });
  writeFileSync(path, changed);
}

describe.skipIf(!compiled).each(["mp4", "mkv"] as const)("an %s whose header says", (kind) => {
  it("a trillion seconds is refused", async () => {
    const folder = await emptyFolder();
    clipOf(folder, kind, 1e12);
    await expectTokenizeRefusal(folder, `clip.${kind}`, "MEDIA_TOO_LONG");
    const estimate = await krait(["estimate", `clip.${kind}`], { cwd: folder });
    expectFault(estimate, "MEDIA_TOO_LONG");
    expect(estimate.code).toBe(3);
  });

  it("no duration gives the frames that are there", async () => {
    const folder = await emptyFolder();
    clipOf(folder, kind, 0);
    const starts = await tokenizeStarts(folder, `clip.${kind}`);
    expect(starts).toHaveLength(25);
    starts.forEach((start, i) => {
      expect(start).toBeCloseTo(i / 25, 2);
    });
  });

  it.skipIf(!canEncode)("no duration can be encoded", async () => {
    const folder = await emptyFolder();
    clipOf(folder, kind, 0);
    const args = ["encode", `clip.${kind}`, "--fps", "1", "--no-page", "--out", "out.safetensors", "--json"];
    const { code, stdout, stderr } = await krait(args, { cwd: folder });
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout).byModality.video).toBeGreaterThan(0);
  });
});
