import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { canEncode, emptyFolder, krait } from "./command.js";

const seconds = 6;

/** One white frame and 50 ms of a tone at every multiple of `period` seconds; the tone's own time begins at `offset`. */
function inputs(rate: string, period: number, offset = 0): string[] {
  const on = (t: string, length: number) => `lt(mod(${t}+0.001\\,${period})\\,${length})*gt(${t}\\,0.5)`;
  const [num = 1, den = 1] = rate.split("/").map(Number);
  const video = `color=black:size=64x48:rate=${rate}:duration=${seconds},geq=lum='255*${on("T", den / num)}':cb=128:cr=128`;
  const tone = `aevalsrc='0.5*sin(2*PI*1000*t)*${on(`(t+${offset})`, 0.05)}':s=48000:d=${seconds - offset}`;
  return ["-f", "lavfi", "-i", video, ...(offset > 0 ? ["-itsoffset", String(offset)] : []), "-f", "lavfi", "-i", tone];
}

const x264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "12", "-qp", "10"];
const clips: [string, string, string[]][] = [
  ["25 frames per second", "clip.mp4", [...inputs("25", 1), ...x264, "-c:a", "aac"]],
  ["23.976 frames per second", "clip.mkv", [...inputs("24000/1001", 1.001), ...x264, "-c:a", "libopus"]],
  ["29.97 frames per second", "clip.ts", [...inputs("30000/1001", 1.001), ...x264, "-c:a", "mp2"]],
  ["60 frames per second", "clip.webm", [...inputs("60", 1), "-c:v", "libvpx", "-b:v", "1M", "-c:a", "libvorbis"]],
  ["sound that starts late", "clip.mp4", [...inputs("25", 1, 0.73), ...x264, "-c:a", "aac"]],
];

async function tokens(folder: string, file: string, ...options: string[]) {
  const { code, stderr } = await krait(["tokenize", file, ...options, "--out", "out.safetensors"], { cwd: folder });
  expect(code, stderr).toBe(0);
  await using written = await openSafetensors(join(folder, "out.safetensors"));
  const times = (await written.read("times")) as Float64Array;
  const features = (await written.read("features")) as Float32Array;
  const rows = times.length / 2;
  const dim = features.length / rows;
  const strength = Array.from({ length: rows }, (_, i) => Math.max(...features.subarray(i * dim, (i + 1) * dim)));
  return { start: (row: number) => times[2 * row] as number, strength };
}

/** Starts of the rows at which the strength rises above a level. */
function onsets({ start, strength }: Awaited<ReturnType<typeof tokens>>, level: number): number[] {
  const rises = strength.flatMap((value, i) => (value > level && (strength[i - 1] ?? 0) <= level ? [i] : []));
  return rises.map(start);
}

describe.skipIf(!canEncode)("a flash and its beep", () => {
  it.each(clips)("are within 20 ms of each other as tokens: %s", async (_, file, args) => {
    const folder = await emptyFolder();
    execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args, join(folder, file)]);
    const frames = await tokens(folder, file, "--preset", "clip", "--size", "16");
    const flashes = onsets(frames, 0);
    const mel = await tokens(folder, file, "--preset", "whisper-80", "--normalization", "fixed");
    // Rows are log10 power / 4: a window half in the tone has a quarter of its full power.
    const beeps = onsets(mel, Math.max(...mel.strength) - 0.15);
    expect(flashes).toHaveLength(5);
    expect(beeps).toHaveLength(5);
    flashes.forEach((flash, i) => {
      expect(Math.abs((beeps[i] as number) - flash)).toBeLessThan(0.02);
    });
  });
});
