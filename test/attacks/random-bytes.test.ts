import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

/** The same random bytes in every run. */
function noise(length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, i) => createHash("sha256").update(`${i}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

describe.skipIf(!compiled)("random bytes", () => {
  it("named .wav are refused", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "noise.wav"), noise(100_000));
    await expectRefusal(folder, ["noise.wav"], { code: "MEDIA_INVALID" });
  });

  it("behind the first words of a wav file are refused", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "noise.wav"), Buffer.concat([Buffer.from("RIFF\x10\0\0\0WAVE"), noise(50_000)]));
    await expectRefusal(folder, ["noise.wav"], { code: /^(MEDIA|WAV)_/ });
  });

  it("named .txt are no text", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "noise.txt"), noise(5000));
    await expectRefusal(folder, ["noise.txt"], { code: "MEDIA_INVALID" });
  });
});
