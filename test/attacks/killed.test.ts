import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { describe, expect, it } from "vitest";
import { canEncode, emptyFolder, expectFault, krait, type Running, start } from "../command.js";
import { tinyConfig } from "../fixtures.js";

const args = (out: string, ...more: string[]) => {
  const options = ["--model", "model", "--chunk-tokens", "4", "--fps", "5", "--no-page"];
  return ["encode", "clip.mkv", "--out", out, ...options, ...more];
};

async function folderWithClip(seconds: number): Promise<string> {
  const folder = await emptyFolder();
  const inputs = ["-f", "lavfi", "-i", `testsrc2=size=64x48:rate=5:duration=${seconds}`];
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...inputs, "-c:v", "mpeg4", join(folder, "clip.mkv")]);
  await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
  return folder;
}

/** Starts an encode and waits until it has written rows and, with a state, where it can go on. */
async function midway(folder: string, state: boolean, more: string[] = []): Promise<Running> {
  const running = start(args("out.safetensors", ...more), { cwd: folder });
  const file = join(folder, `out.safetensors.partial.${state ? "state" : "0"}`);
  const begun = () => existsSync(file) && statSync(file).size > 0;
  while (!begun() && running.child.exitCode === null) await sleep(20);
  return running;
}

const inspected = async (folder: string, name: string) => {
  const { code, stdout, stderr } = await krait(["inspect", name, "--json"], { cwd: folder });
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
};

describe.skipIf(!canEncode || process.platform === "win32")("an encode that is killed", () => {
  it("leaves rows that inspect reads, and goes on to the file of an uninterrupted run", async () => {
    const folder = await folderWithClip(60);
    const running = await midway(folder, true, ["--checkpoint", "0"]);
    running.child.kill("SIGKILL");
    await running.done;
    expect(readdirSync(folder)).not.toContain("out.safetensors");
    const found = await inspected(folder, "out.safetensors.partial");
    expect(found).toMatchObject({ kind: "partial", dim: 32, span: { start: 0 } });
    expect(found.tokens).toBeGreaterThan(0);
    expect(await inspected(folder, "out.safetensors")).toEqual(found);
    const again = await krait(args("out.safetensors", "--resume", "--json"), { cwd: folder });
    expect(again.code, again.stderr).toBe(0);
    expect(JSON.parse(again.stdout).resumedTokens).toBeGreaterThan(0);
    await krait(args("whole.safetensors"), { cwd: folder });
    const [one, other] = ["out", "whole"].map((name) => readFileSync(join(folder, `${name}.safetensors`)));
    expect(one!.equals(other!)).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(["clip.mkv", "model", "out.safetensors", "whole.safetensors"]);
  });

  it("by Ctrl-C after its first state says that its rows are kept", async () => {
    const folder = await folderWithClip(900);
    const running = await midway(folder, true, ["--checkpoint", "0"]);
    running.child.kill("SIGINT");
    const finished = await running.done;
    expect(finished.code, finished.stderr).toBe(130);
    expectFault(finished, "ABORTED_KEPT");
    expect((await inspected(folder, "out.safetensors.partial")).tokens).toBeGreaterThan(0);
    const other = await krait(args("out.safetensors", "--resume", "--pool", "frame"), { cwd: folder });
    expectFault(other, "RESUME_MISMATCH");
    expect(other.code).toBe(2);
  });

  it("does not share its output with another run", async () => {
    const folder = await folderWithClip(900);
    const running = await midway(folder, false);
    // Held there, or it might be done before the others begin.
    running.child.kill("SIGSTOP");
    const before = await inspected(folder, "out.safetensors");
    for (const more of [[], ["--resume"]]) {
      const second = await krait(args("out.safetensors", ...more), { cwd: folder });
      expectFault(second, "OUTPUT_BUSY");
      expect(second.code).toBe(2);
    }
    expect(await inspected(folder, "out.safetensors")).toEqual(before);
    running.child.kill("SIGCONT");
    running.child.kill("SIGINT");
    expect((await running.done).code).toBe(130);
    expect(readdirSync(folder)).toEqual(["clip.mkv", "model"]);
  });
});
