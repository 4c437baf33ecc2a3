import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { compiled, emptyFolder, krait } from "./command.js";

const picture = (rate: string) => ["-f", "lavfi", "-i", `testsrc=size=64x48:rate=${rate}:duration=2`];
const x264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "10"];
const clips: [string, string, string[]][] = [
  ...["24000/1001", "30000/1001", "25", "60"].map((rate): [string, string, string[]] => [
    `${rate} frames per second`,
    "clip.mp4",
    [...picture(rate), ...x264],
  ]),
  [
    "variable rate",
    "clip.mkv",
    [...picture("30"), "-vf", "select='not(mod(n,3)*mod(n,5))'", "-fps_mode", "vfr", ...x264],
  ],
  [
    "audio that starts late",
    "clip.mp4",
    [...picture("25"), "-itsoffset", "0.7", "-f", "lavfi", "-i", "sine=d=1", ...x264],
  ],
];

describe.skipIf(!compiled)("a row's start is its frame's, as ffprobe reads the container", () => {
  it.each(clips)("%s", async (_, file, args) => {
    const folder = await emptyFolder();
    execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args, join(folder, file)]);
    const show = ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0", file];
    const truth =
      execFileSync("ffprobe", show, { cwd: folder, encoding: "utf8" })
        .match(/[\d.]+/g)
        ?.map(Number) ?? [];
    const command = ["tokenize", file, "--preset", "clip", "--size", "16", "--out", "out.safetensors"];
    const { code, stderr } = await krait(command, { cwd: folder });
    expect(code, stderr).toBe(0);
    await using written = await openSafetensors(join(folder, "out.safetensors"));
    const times = (await written.read("times")) as Float64Array;
    expect(times.length).toBe(2 * truth.length);
    const half = Math.min(...truth.slice(1).map((time, i) => time - (truth[i] as number))) / 2;
    truth.forEach((time, i) => {
      expect(Math.abs((times[2 * i] as number) - time)).toBeLessThan(half);
      // A frame shows until the next one comes.
      const next = truth[i + 1];
      if (next !== undefined) expect(Math.abs((times[2 * i + 1] as number) - next)).toBeLessThan(half);
    });
  });
});
