import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectFault, krait } from "../command.js";

/** hh:mm:ss,mmm */
const clock = (ms: number) => {
  const hours = String(Math.floor(ms / 3_600_000)).padStart(2, "0");
  return `${hours}:${new Date(ms % 3_600_000).toISOString().slice(14, 23).replace(".", ",")}`;
};
const cue = (from: number, to: number, words: string) => `1\n${clock(from)} --> ${clock(to)}\n${words}\n\n`;

describe.skipIf(!compiled)("subtitles", () => {
  it.skipIf(!canEncode)("that overlap and come out of order stand at their own times, in order", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "cues.srt"), cue(5000, 9000, "c") + cue(1000, 8000, "a") + cue(2000, 3000, "b"));
    const args = ["encode", "cues.srt", "--out", "out.safetensors", "--no-page"];
    const { code, stderr } = await krait(args, { cwd: folder });
    expect(code, stderr).toBe(0);
    await using file = await openSafetensors(join(folder, "out.safetensors"));
    const times = [...((await file.read("times")) as Float64Array)];
    const words = [...((await file.read("modality")) as Uint8Array)].flatMap((m, i) =>
      m === 0 ? [[times[2 * i], times[2 * i + 1]]] : [],
    );
    expect(words).toEqual([
      [1, 8],
      [2, 3],
      [5, 9],
    ]);
  });

  it("with times below zero, or that end before they begin, are refused", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "below.srt"), "1\n-00:00:01,000 --> 00:00:02,000\nwords\n");
    await writeFile(join(folder, "back.srt"), cue(2000, 1000, "words"));
    expectFault(await krait(["estimate", "below.srt"], { cwd: folder }), "SUBTITLES_INVALID");
    expectFault(await krait(["estimate", "back.srt"], { cwd: folder }), "SUBTITLES_TIMES_INVALID");
  });

  it("of many cues that overlap are counted in bounded memory", async () => {
    const folder = await emptyFolder();
    // More than a call takes arguments.
    const count = 200_000;
    const cues = Array.from({ length: count }, (_, i) => cue(10 * i, 10 * i + 5000, "c"));
    await writeFile(join(folder, "cues.srt"), cues.join(""));
    const { code, stdout, stderr, peakBytes } = await krait(["estimate", "cues.srt", "--json"], { cwd: folder });
    expect(code, stderr).toBe(0);
    // One per cue, and a separator between windows of two seconds.
    expect(JSON.parse(stdout)).toMatchObject({
      tokens: count + count / 200 - 1,
      seconds: expect.closeTo(0.01 * count + 4.99, 6),
    });
    expect(peakBytes).toBeLessThan(512 * 2 ** 20);
  });
});
