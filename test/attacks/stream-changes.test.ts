import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, krait } from "../command.js";
import { ffmpeg, picture } from "./clip.js";
import { tokenizeStarts } from "./tokenize.js";

/** Two transport streams one behind the other, as a broadcast that changes in the middle. */
function join2(folder: string, first: string, second: string): void {
  ffmpeg(folder, `${first} -f mpegts a.ts`);
  ffmpeg(folder, `${second} -output_ts_offset 2 -f mpegts b.ts`);
  writeFileSync(
    join(folder, "both.ts"),
    Buffer.concat(["a.ts", "b.ts"].map((name) => readFileSync(join(folder, name)))),
  );
}

describe.skipIf(!compiled)("a stream that changes in its middle", () => {
  it.each([
    ["its size", `${picture(2, "128x96")} -c:v mpeg2video`],
    ["its size and pixel format", `${picture(2, "80x48")} -c:v mpeg2video -pix_fmt yuv422p`],
  ])("%s: rows keep their size and times go on", async (_, second) => {
    const folder = await emptyFolder();
    join2(folder, `${picture(2)} -c:v mpeg2video`, second);
    const starts = await tokenizeStarts(folder, "both.ts");
    expect(starts.length).toBeGreaterThanOrEqual(98);
    const first = starts[0] as number;
    // 25 frames a second, the second part two seconds behind the first; at the seam a frame may be missing.
    for (const start of starts) {
      const frames = (start - first) * 25;
      expect(Math.abs(frames - Math.round(frames))).toBeLessThan(0.01);
    }
    expect((starts.at(-1) as number) - first).toBeCloseTo(3.92, 1);
    starts.slice(1).forEach((start, i) => {
      expect(start - (starts[i] as number)).toBeLessThan(0.13);
    });
  });

  it.skipIf(!canEncode)("the sampling rate and channels of its sound: time goes on", async () => {
    const folder = await emptyFolder();
    const tone = (rate: number) => `-f lavfi -i sine=duration=2:sample_rate=${rate} -c:a mp2`;
    join2(folder, tone(44100), `${tone(48000)} -ac 2`);
    const args = [
      "tokenize",
      "both.ts",
      "--preset",
      "whisper-80",
      "--normalization",
      "fixed",
      "--out",
      "out.safetensors",
    ];
    const { code, stderr } = await krait(args, { cwd: folder });
    expect(code, stderr).toBe(0);
    await using written = await openSafetensors(join(folder, "out.safetensors"));
    const times = (await written.read("times")) as Float64Array;
    expect(times.length / 2).toBeGreaterThan(395);
    expect(times.length / 2).toBeLessThan(420);
    // The tone never stops (1.1): silence reads as -0.5.
    const features = (await written.read("features")) as Float32Array;
    for (let row = 20; row < 395; row++) {
      expect(Math.max(...features.subarray(row * 80, row * 80 + 80))).toBeGreaterThan(0.5);
    }
  });
});
