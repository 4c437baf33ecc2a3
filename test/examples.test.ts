import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
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

  it("has a test here", async () => {
    const here = await readFile(fileURLToPath(import.meta.url), "utf8");
    for (const name of await readdir(example(""))) if (name.endsWith(".mjs")) expect(here).toContain(`"${name}"`);
  });
});
