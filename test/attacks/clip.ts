import { execFileSync } from "node:child_process";

/** Runs ffmpeg in a folder; the words of `args` are split at spaces. */
export function ffmpeg(folder: string, args: string): void {
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args.split(" ")], { cwd: folder });
}

/** Arguments of a moving picture at 25 frames per second. */
export const picture = (seconds: number, size = "64x48") =>
  `-f lavfi -i testsrc2=size=${size}:rate=25:duration=${seconds}`;
