import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { ffmpeg, picture } from "./clip.js";
import { expectTokenizeRefusal, tokenizeStarts } from "./tokenize.js";

/** Seconds at which the 33-bit clock of a transport stream begins again. */
const wrap = 2 ** 33 / 90_000;

describe.skipIf(!compiled)("timestamps", () => {
  it("below zero lie outside the file's timeline: those rows are left out", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(2)} -c:v mpeg4 -output_ts_offset -1 -avoid_negative_ts disabled clip.mkv`);
    const starts = await tokenizeStarts(folder, "clip.mkv");
    expect(starts).toHaveLength(25);
    starts.forEach((start, i) => {
      expect(start).toBeCloseTo(i / 25, 3);
    });
  });

  it("that begin again are an error, not a shorter file", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(15)} -c:v mpeg2video -f mpegts part.ts`);
    const part = readFileSync(join(folder, "part.ts"));
    writeFileSync(join(folder, "twice.ts"), Buffer.concat([part, part]));
    await expectTokenizeRefusal(folder, "twice.ts", "MEDIA_TIMES_INVALID");
  });

  it("that fall back again and again by a little are an error too", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(3)} -c:v mpeg2video -f mpegts part.ts`);
    const part = readFileSync(join(folder, "part.ts"));
    writeFileSync(join(folder, "often.ts"), Buffer.concat(Array.from({ length: 6 }, () => part)));
    await expectTokenizeRefusal(folder, "often.ts", "MEDIA_TIMES_INVALID");
  });

  it.each([
    ["a second behind the start", 1],
    ["seventy seconds behind it", 70],
  ])("that wrap %s count on", async (_, seconds) => {
    const folder = await emptyFolder();
    const rate = seconds > 10 ? 2 : 25;
    const source = `-f lavfi -i testsrc2=size=64x48:rate=${rate}:duration=${seconds + 2}`;
    ffmpeg(folder, `${source} -c:v mpeg2video -muxdelay 0 -output_ts_offset ${wrap - seconds} -f mpegts clip.ts`);
    const starts = await tokenizeStarts(folder, "clip.ts");
    expect(starts).toHaveLength(rate * (seconds + 2));
    starts.forEach((start, i) => {
      expect(start - (starts[0] as number)).toBeCloseTo(i / rate, 3);
    });
    expect(Math.abs((starts[0] as number) - (wrap - seconds))).toBeLessThan(1.5);
  });

  it.each(["mkv", "nut"])("a century apart in a %s are refused", async (kind) => {
    const folder = await emptyFolder();
    const jump = "settb=1/25,setpts=PTS+gt(N\\,25)*78840000000";
    ffmpeg(folder, `${picture(2)} -vf ${jump} -fps_mode passthrough -c:v ffv1 -enc_time_base 1/25 clip.${kind}`);
    await expectTokenizeRefusal(folder, `clip.${kind}`, "MEDIA_TOO_LONG");
  });
});
