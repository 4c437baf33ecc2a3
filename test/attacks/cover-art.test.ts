import { execFileSync } from "node:child_process";
import { describe, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { expectTokenizeRefusal } from "./tokenize.js";

describe.skipIf(!compiled)("a cover picture in an mp3", () => {
  it("is not taken for video", async () => {
    const folder = await emptyFolder();
    const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args], { cwd: folder });
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", "cover.png");
    const streams = ["-f", "lavfi", "-i", "sine=duration=1", "-i", "cover.png", "-map", "0", "-map", "1"];
    ffmpeg(...streams, "-c:a", "libmp3lame", "-c:v", "png", "-disposition:v", "attached_pic", "song.mp3");
    await expectTokenizeRefusal(folder, "song.mp3", "MEDIA_NO_VIDEO");
  });
});
