import { execFileSync } from "node:child_process";
import { createReadStream, existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openSafetensors } from "@krait/formats";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { describe, expect, it } from "vitest";
import { canEncode, emptyFolder, expectFault, krait, type Running, start } from "../command.js";
import { tinyConfig } from "../fixtures.js";

const options = ["--out", "out.safetensors", "--model", "model", "--no-page", "--fps", "5"];

async function folderWithClip(): Promise<string> {
  const folder = await emptyFolder();
  const inputs = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=20", "-f", "lavfi", "-i", "sine=d=20"];
  const codecs = ["-c:v", "mpeg4", "-c:a", "pcm_s16le"];
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...inputs, ...codecs, join(folder, "clip.mkv")]);
  await saveCheckpoint(join(folder, "model"), parseEncoderConfig(tinyConfig), seededWeights(1));
  return folder;
}

/** What the command makes of bytes on its standard input, which ends after them. */
async function piped(folder: string, content: Uint8Array | string, command: string[]): Promise<Running["done"]> {
  const running = start(command, { cwd: folder, stdin: true });
  running.child.stdin!.on("error", () => {});
  running.child.stdin!.end(content);
  return running.done;
}

async function columns(folder: string) {
  await using file = await openSafetensors(join(folder, "out.safetensors"));
  return Object.fromEntries(await Promise.all([...file.tensors.keys()].map(async (n) => [n, await file.read(n)])));
}

describe.skipIf(!canEncode)("standard input", () => {
  it("gives the features of the file, be it media, words or subtitles", async () => {
    const folder = await folderWithClip();
    await krait(["encode", "clip.mkv", ...options], { cwd: folder });
    const whole = await columns(folder);
    const clip = await piped(folder, await readFile(join(folder, "clip.mkv")), ["encode", "-", ...options]);
    expect(clip.code, clip.stderr).toBe(0);
    expect(await columns(folder)).toEqual(whole);
    const words = await piped(folder, "Nine words", ["encode", "-", ...options]);
    expect(words.code, words.stderr).toBe(0);
    expect((await columns(folder)).modality).toEqual(new Uint8Array(10));
    await piped(folder, "WEBVTT\n\n00:03.000 --> 00:04.500\nHi\n", ["encode", "-", ...options]);
    expect((await columns(folder)).times).toEqual(Float64Array.of(3, 4.5, 3, 4.5));
  });

  it("that is empty or no input at all is refused", async () => {
    const folder = await folderWithClip();
    expectFault(await piped(folder, "", ["encode", "-", ...options]), "SOURCE_EMPTY");
    expectFault(await piped(folder, Buffer.alloc(5000), ["encode", "-", ...options]), "MEDIA_INVALID");
    expectFault(await krait(["encode", "-", ...options, "--resume"], { cwd: folder }), /SOURCE_EMPTY|RESUME_STREAM/);
    expect(readdirSync(folder).sort()).toEqual(["clip.mkv", "model"]);
  });

  it("that never ends is encoded as it comes, and Ctrl-C ends it at once with what there is", async () => {
    const folder = await folderWithClip();
    const running = start(["encode", "-", ...options, "--chunk-tokens", "16", "--checkpoint", "0"], {
      cwd: folder,
      stdin: true,
    });
    running.child.stdin!.on("error", () => {});
    createReadStream(join(folder, "clip.mkv")).pipe(running.child.stdin!, { end: false });
    const rows = join(folder, "out.safetensors.partial.0");
    while (!(existsSync(rows) && readFileSync(rows).length > 0) && running.child.exitCode === null) await sleep(50);
    await sleep(1000); // now it waits for bytes that do not come
    const begun = performance.now();
    running.child.kill("SIGINT");
    const finished = await running.done;
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(finished.code, finished.stderr).toBe(130);
    expectFault(finished, "ABORTED_KEPT");
    const { stdout } = await krait(["inspect", "out.safetensors", "--json"], { cwd: folder });
    expect(JSON.parse(stdout)).toMatchObject({ kind: "partial", dim: 32 });
    await rm(join(folder, "clip.mkv"));
  });

  it.each(["probe", "estimate", "encode"])(
    "that says nothing is left by krait %s at the first signal",
    async (name) => {
      const folder = await folderWithClip();
      const running = start([name, "-", ...(name === "encode" ? options : [])], { cwd: folder, stdin: true });
      await sleep(4000);
      const begun = performance.now();
      running.child.kill("SIGINT");
      expect((await running.done).code).toBe(130);
      expect(performance.now() - begun).toBeLessThan(5000);
    },
  );
});
