import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { inspectFeatures } from "krait";
import { beforeAll, describe, expect, it } from "vitest";
import { canEncode } from "./command.js";
import { folderOfTests, makeClip } from "./fixtures.js";

const run = promisify(execFile);
const at = folderOfTests();
const example = (name: string) => fileURLToPath(new URL(`../examples/${name}`, import.meta.url));

describe.skipIf(!canEncode)("an example", () => {
  let clip = "";
  beforeAll(() => {
    clip = makeClip(at("clip.mkv"), { seconds: 11.5, size: "160x120" });
  });
  const lines = async (name: string) =>
    (await run(process.execPath, [example(name), clip])).stdout.trimEnd().split("\n");

  it("encodes video, audio and text in twenty lines and prints features with times", async () => {
    expect((await readFile(example("encode-video.mjs"), "utf8")).trimEnd().split("\n").length).toBeLessThanOrEqual(20);
    const number = String.raw`-?\d+\.\d{3}`;
    const shape = new RegExp(String.raw`^(\d+\.\d\d) to (\d+\.\d\d) s {2}(\w+) {2}\[(?:${number}, ){4}…\]$`);
    const rows = (await lines("encode-video.mjs")).map((line) => {
      const [, start, end, modality] = shape.exec(line) ?? [];
      expect(start, line).toBeDefined();
      return { start: Number(start), end: Number(end), modality };
    });
    // The question, then six windows of two seconds, with separators between.
    const windows = Array.from({ length: 6 }, () => ["separator", "video", "audio"]).flat();
    expect(rows.map((row) => row.modality)).toEqual(["text", ...windows]);
    for (const modality of ["video", "audio"]) {
      const starts = rows.filter((row) => row.modality === modality).map((row) => row.start);
      for (const [i, start] of starts.entries()) expect(Math.abs(start - 2 * i)).toBeLessThanOrEqual(0.1);
    }
    for (const { start, end } of rows) expect(start <= end && end <= 12).toBe(true);
  });

  it("streams parts with progress", async () => {
    const { stdout, stderr } = await run(process.execPath, [example("stream.mjs"), clip]);
    const parts = stdout.trimEnd().split("\n");
    const counts = parts.map((line) => Number(/^(\d+) tokens from \d+\.\d\d to \d+\.\d\d s$/.exec(line)?.[1]));
    // 23 frames make 12 tubelets of 196 patches, and sound has 12.5 tokens per second.
    expect(counts.slice(0, -1)).toEqual(counts.slice(1).map(() => 1024));
    const total = counts.reduce((a, b) => a + b, 0);
    expect(Math.abs(total - (12 * 196 + 11.5 * 12.5 + 5))).toBeLessThan(2);
    const done = stderr
      .trimEnd()
      .split("\n")
      .map((line) => Number(/^(\d+) of about \d+ tokens$/.exec(line)?.[1]));
    expect(done[0]).toBe(0);
    expect(done.at(-1)).toBe(total);
  });

  it("goes on from a snapshot and a fork", async () => {
    expect(await lines("session.mjs")).toEqual([
      expect.stringMatching(/^\d{4} tokens of video and sound are remembered in \d+ bytes$/),
    ]);
  });

  it("finds the scenes of a video and what is like a moment", async () => {
    const scene = (source: string) => ["-f", "lavfi", "-i", `${source}:size=160x120:rate=10`];
    const chain =
      "[1]trim=duration=6,setsar=1[b];[2]trim=duration=6,setsar=1[c];[0]setsar=1,split[a][d];[a][b][d][c]concat=n=4";
    const [test, life] = ["testsrc2=duration=6", "life=seed=1:mold=10:life_color=#e0a030:death_color=#203050"];
    const inputs = [test, "mandelbrot=end_scale=0.1", life].flatMap((source) => scene(source));
    const output = ["-filter_complex", chain, "-c:v", "mpeg4", "-q:v", "4", at("scenes.mkv")];
    await run("ffmpeg", ["-v", "error", "-nostdin", ...inputs, ...output]);
    const args = [example("long-video"), at("scenes.mkv"), "--at", "2", "--page", at("scenes.html"), "--json"];
    const { scenes, at: asked, alike } = JSON.parse((await run(process.execPath, args)).stdout);
    expect(scenes.map(({ start }: { start: number }) => start)).toEqual([0, 6, 12, 18]);
    expect(asked).toBe(2);
    // The first scene comes again as the third.
    expect(alike[0]).toEqual({ start: 14, likeness: expect.closeTo(1, 1) });
    const page = await readFile(at("scenes.html"), "utf8");
    expect(page.match(/<li class="(asked)?"><img/g)).toHaveLength(4 + 1 + alike.length);
  });

  it("writes features of sound, and goes on where it was interrupted", async () => {
    const [out, page] = [at("sound.safetensors"), at("sound.html")];
    const { stdout } = await run(process.execPath, [example("hour-audio"), clip, "--out", out, "--json"]);
    const { tokens, dim, ...rest } = JSON.parse(stdout);
    expect(Math.abs(tokens - 11.5 * 25)).toBeLessThanOrEqual(2);
    expect(rest).toMatchObject({ out, page, resumedTokens: 0 });
    expect(await inspectFeatures(out)).toMatchObject({ tokens, dim, byModality: { audio: tokens, separator: 0 } });
    expect(await readFile(page, "utf8")).toContain("<!doctype html>");
  });

  it("sets layouts beside each other by length, and draws them", async () => {
    const args = ["--lengths", "640,1280", "--width", "64", "--page", at("layouts.html"), "--json"];
    const { stdout } = await run(process.execPath, [example("hybrid-experiment"), ...args]);
    const results: { layout: string; tokens: number; stateBytes: number }[] = JSON.parse(stdout).results;
    const layouts = [...new Set(results.map(({ layout }) => layout))];
    expect(layouts).toHaveLength(5);
    for (const name of layouts) {
      const [short, long] = results.filter(({ layout }) => layout === name);
      expect([short!.tokens, long!.tokens]).toEqual([640, 1280]);
      if (name.includes("full")) expect(long!.stateBytes).toBeGreaterThan(short!.stateBytes * 1.3);
      else expect(long!.stateBytes).toBe(short!.stateBytes);
    }
    const page = await readFile(at("layouts.html"), "utf8");
    expect(page.match(/<polyline /g)).toHaveLength(4 * layouts.length);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  }, 180_000);

  it("says in a line or two what a user can mend (plain-errors.mjs)", async () => {
    const refused = async (name: string, ...args: string[]): Promise<string[]> => {
      const { code, stderr } = await run(process.execPath, [example(name), ...args]).then(
        () => ({ code: 0, stderr: "" }),
        (error: { code: number; stderr: string }) => error,
      );
      expect(code, `${name} ${args}`).toBeGreaterThan(0);
      return stderr.trimEnd().split("\n");
    };
    for (const [args, what] of [
      [["long-video", at("none.mp4")], "file"],
      [["long-video", clip, "--at", "soon"], "--at"],
      [["long-video", clip, "--window", "0"], "--window"],
      [["long-video", clip, "--windows", "1"], "--windows"],
      [["hour-audio", at("none.mp4")], "file"],
      [["hybrid-experiment", "--lengths", "1024,many"], "--lengths"],
      [["hybrid-experiment", "--width", "100"], "--width"],
    ] as [[string, ...string[]], string][]) {
      const lines = await refused(...args);
      expect(lines.length, lines.join("\n")).toBeLessThanOrEqual(2);
      expect(lines[0]).toContain(what);
    }
    await run("ffmpeg", ["-v", "error", "-nostdin", "-i", clip, "-an", "-c", "copy", at("silent.mkv")]);
    const [message, hint] = await refused("hour-audio", at("silent.mkv"), "--out", at("silent.safetensors"));
    expect(message).toMatch(/^Expected an audio stream for .*silent\.mkv/);
    expect(hint).toMatch(/\w/);
  }, 180_000);

  it("has a test here", async () => {
    const here = await readFile(fileURLToPath(import.meta.url), "utf8");
    // The demo is tested by running it.
    const names = (await readdir(example(""))).filter((name) => name !== "demo");
    for (const name of names) expect(here).toContain(name);
  });
});
