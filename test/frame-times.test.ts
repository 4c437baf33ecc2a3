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

/** Frames as ffprobe reads them, the edit list applied: when each is shown, and until when the last one is. */
function truthOf(folder: string, file: string): { starts: number[]; end: number } {
  const show = ["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,duration_time,flags"];
  const output = execFileSync("ffprobe", [...show, "-of", "json", file], { cwd: folder, encoding: "utf8" });
  const { packets } = JSON.parse(output) as { packets: { pts_time: string; duration_time: string; flags: string }[] };
  const shown = packets
    // D: the edit list leaves it out, and it is only there to be decoded.
    .filter(({ flags }) => !flags.includes("D"))
    .map(({ pts_time, duration_time }) => ({ start: Number(pts_time), length: Number(duration_time) }))
    .sort((a, b) => a.start - b.start);
  const last = shown.at(-1) as { start: number; length: number };
  return { starts: shown.map(({ start }) => start), end: last.start + last.length };
}

async function expectTimes(folder: string, file: string): Promise<number[]> {
  const { starts, end } = truthOf(folder, file);
  const command = ["tokenize", file, "--preset", "clip", "--size", "16", "--out", "out.safetensors"];
  const { code, stderr } = await krait(command, { cwd: folder });
  expect(code, stderr).toBe(0);
  await using written = await openSafetensors(join(folder, "out.safetensors"));
  const times = (await written.read("times")) as Float64Array;
  expect(times.length).toBe(2 * starts.length);
  const half = Math.min(...starts.slice(1).map((time, i) => time - (starts[i] as number))) / 2;
  starts.forEach((time, i) => {
    expect(Math.abs((times[2 * i] as number) - time)).toBeLessThan(half);
    // A frame shows until the next one comes.
    expect(Math.abs((times[2 * i + 1] as number) - (starts[i + 1] ?? end))).toBeLessThan(half);
  });
  return starts;
}

describe.skipIf(!compiled)("a row's start and end are its frame's, as ffprobe reads the container", () => {
  it.each(clips)("%s", async (_, file, args) => {
    const folder = await emptyFolder();
    execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args, join(folder, file)]);
    await expectTimes(folder, file);
  });

  it("an edit list that cuts into a group of pictures", async () => {
    const folder = await emptyFolder();
    const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args], { cwd: folder });
    ffmpeg(...picture("25"), ...x264, "whole.mp4");
    ffmpeg("-ss", "0.7", "-i", "whole.mp4", "-c", "copy", "cut.mp4");
    const starts = await expectTimes(folder, "cut.mp4");
    // 0.7 s is not where a group of ten begins: what is cut off is still in the file.
    expect(starts.length).toBeLessThan(36);
    expect(starts[0]).toBeGreaterThanOrEqual(0);
    expect(starts[0]).toBeLessThan(0.04);
  });

  it("an edit list that begins with nothing", async () => {
    const folder = await emptyFolder();
    const offset = ["-itsoffset", "0.48", ...picture("25"), "-f", "lavfi", "-i", "sine=d=2"];
    const args = [...offset, ...x264, "-fps_mode", "passthrough", join(folder, "late.mp4")];
    execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args]);
    const starts = await expectTimes(folder, "late.mp4");
    expect(starts[0]).toBeCloseTo(0.48, 2);
  });
});
