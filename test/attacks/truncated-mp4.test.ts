import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectRefusal } from "../command.js";

/** Six seconds of picture and sound, cut to a part of its bytes. */
async function cutClip(folder: string, name: string, share: number, flags: string[]): Promise<void> {
  const whole = join(folder, name);
  const inputs = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=6", "-f", "lavfi", "-i", "sine=d=6"];
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...inputs, "-c:v", "mpeg4", "-c:a", "aac", ...flags, whole]);
  const bytes = await readFile(whole);
  await writeFile(whole, bytes.subarray(0, Math.floor(bytes.length * share)));
}

describe("an mp4 that was cut", () => {
  it.skipIf(!compiled)("before its index, which stands at the end, is refused", async () => {
    const folder = await emptyFolder();
    await cutClip(folder, "clip.mp4", 0.5, []);
    await expectRefusal(folder, ["clip.mp4"], { code: "MEDIA_TRUNCATED" });
  });

  it.skipIf(!canEncode)("behind its index is refused, and what was encoded until then is not kept", async () => {
    const folder = await emptyFolder();
    await cutClip(folder, "clip.mp4", 0.5, ["-movflags", "+faststart"]);
    await expectRefusal(folder, ["clip.mp4", "--threads", "1"], { code: "MEDIA_TRUNCATED" });
  });
});
