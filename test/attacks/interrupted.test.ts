import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { canEncode, emptyFolder, type Running, start } from "../command.js";

/** Starts an encode that takes minutes, and waits until it writes. */
async function midway(folder: string): Promise<Running> {
  const inputs = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=900", "-f", "lavfi", "-i", "sine=d=900"];
  const clip = join(folder, "long.mkv");
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...inputs, "-c:v", "mpeg4", "-c:a", "pcm_s16le", clip]);
  const running = start(["encode", "long.mkv", "--out", "out.safetensors", "--fps", "5"], { cwd: folder, group: true });
  while (!existsSync(join(folder, "out.safetensors.partial")) && running.child.exitCode === null) await sleep(20);
  await sleep(300);
  return running;
}

describe.skipIf(!canEncode || process.platform === "win32")("an encode that is interrupted", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("by %s leaves nothing and ends with %d", async (signal, exit) => {
    const folder = await emptyFolder();
    const running = await midway(folder);
    running.child.kill(signal);
    const { code, stdout, stderr } = await running.done;
    expect(stderr).toMatch(/^krait: interrupted.*\n {2}\[ABORTED\]\n$/m);
    expect(code).toBe(exit);
    expect(stdout).toBe("");
    expect(await readdir(folder)).toEqual(["long.mkv"]);
  });

  it("by Ctrl-C, which its decoder gets too, leaves no process", async () => {
    const folder = await emptyFolder();
    const running = await midway(folder);
    process.kill(-running.child.pid!, "SIGINT");
    const { code } = await running.done;
    expect(code).toBe(130);
    expect(await readdir(folder)).toEqual(["long.mkv"]);
    const processes = execFileSync("ps", ["-eo", "args="], { encoding: "utf8" });
    expect(processes.split("\n").filter((line) => line.includes(folder))).toEqual([]);
  });
});
