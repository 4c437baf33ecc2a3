import { execFileSync } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, expectFault, krait, start } from "./command.js";

const codes = { text: 0, audio: 1, video: 2, separator: 255 } as const;
const words = "Wie viele Kreise ziehen vorbei? 三つ。";

async function makeClip(folder: string): Promise<string> {
  const inputs = [
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=320x180:rate=12:duration=7",
    "-f",
    "lavfi",
    "-i",
    "sine=frequency=330:duration=7",
  ];
  const clip = join(folder, "clip.mp4");
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...inputs, "-c:v", "mpeg4", "-c:a", "aac", clip]);
  return clip;
}

async function readFeatures(path: string) {
  await using file = await openSafetensors(path);
  const shape = (name: string) => [file.tensors.get(name)?.dtype, file.tensors.get(name)?.shape];
  return {
    shapes: { features: shape("features"), times: shape("times"), modality: shape("modality") },
    features: (await file.read("features")) as Float32Array,
    times: (await file.read("times")) as Float64Array,
    modality: [...((await file.read("modality")) as Uint8Array)],
    metadata: file.metadata,
  };
}

/** Starts of the tokens of one kind, in the order of the file. */
function starts({ modality, times }: Awaited<ReturnType<typeof readFeatures>>, code: number): number[] {
  return modality.flatMap((m, i) => (m === code ? [times[2 * i]!] : []));
}

const falls = (values: number[]) => values.some((value, i) => i > 0 && value < values[i - 1]!);

describe.skipIf(!canEncode)("krait encode", () => {
  it("turns picture, sound and words into one feature file and a page", async () => {
    const folder = await emptyFolder();
    await makeClip(folder);
    await writeFile(join(folder, "question.txt"), words);
    const args = ["encode", "clip.mp4", "question.txt", "--out", "clip.safetensors", "--json"];
    const { code, stdout, stderr } = await krait(args, { cwd: folder });
    expect(code, stderr).toBe(0);

    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(1);
    const summary = JSON.parse(lines[0]!);
    const file = await readFeatures(join(folder, "clip.safetensors"));
    const { tokens, dim, byModality } = summary;
    expect(file.shapes).toEqual({
      features: ["f32", [tokens, dim]],
      times: ["f64", [tokens, 2]],
      modality: ["u8", [tokens]],
    });
    expect(file.features.every(Number.isFinite)).toBe(true);
    for (const [name, value] of Object.entries(codes)) {
      expect(file.modality.filter((m) => m === value).length, name).toBe(byModality[name]);
      expect(byModality[name], name).toBeGreaterThan(0);
    }
    expect(file.modality.every((m) => (Object.values(codes) as number[]).includes(m))).toBe(true);
    // 14 frames at 2 per second in tubelets of two, 14 x 14 patches each; one token per UTF-8 byte.
    expect(byModality.video).toBe(7 * 196);
    expect(byModality.text).toBe(Buffer.byteLength(words));
    expect(summary.mediaSeconds).toBeGreaterThanOrEqual(7);

    expect(falls(starts(file, codes.video))).toBe(false);
    expect(falls(starts(file, codes.audio))).toBe(false);
    for (let i = 0; i < tokens; i++) expect(file.times[2 * i + 1]).toBeGreaterThanOrEqual(file.times[2 * i]!);
    // The words came last: they stand behind everything, at its end.
    const last = file.modality.lastIndexOf(codes.text);
    expect(last).toBe(tokens - 1);
    expect(file.times[2 * last]).toBe(Math.max(...file.times.filter((_, i) => file.modality[i >> 1] !== codes.text)));

    expect(file.metadata["krait.version"]).toMatch(/^\d+\.\d+\.\d+/);
    expect(file.metadata["model.sha256"]).toBe(summary.model.sha256);
    expect(file.metadata["model.sha256"]).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.parse(file.metadata.options!)).toMatchObject({ inputs: ["clip.mp4", "question.txt"], seed: 0 });

    expect(stderr).toMatch(/^00:00:00 \/ --:--:-- {2}reading clip\.mp4, question\.txt\n/);
    expect(stderr).toContain("weights are random numbers (seed 0)");
    expect(summary.page).toBe("clip.html");
    expect((await stat(join(folder, "clip.html"))).size).toBeLessThan(8_000_000);
    expect(await readFile(join(folder, "clip.html"), "utf8")).toMatch(/^<!doctype html>/i);
  });

  it("takes words in front, a part of the media and one kind of it, and says nothing with --quiet", async () => {
    const folder = await emptyFolder();
    await makeClip(folder);
    const args = [
      "--text",
      "Listen:",
      "clip.mp4",
      "--no-video",
      "--start",
      "2",
      "--end",
      "00:00:05",
      "--no-page",
      "--quiet",
    ];
    const { code, stdout, stderr } = await krait(["encode", ...args, "--out", "part.safetensors"], { cwd: folder });
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^features {2}part\.safetensors\ntokens /);
    expect(stdout).not.toContain("page");
    const file = await readFeatures(join(folder, "part.safetensors"));
    expect(file.modality.slice(0, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 255]);
    expect(file.modality).not.toContain(codes.video);
    const sound = starts(file, codes.audio);
    expect(sound[0]).toBeCloseTo(2, 1);
    expect(sound.at(-1)).toBeLessThan(5);
    expect(sound.at(-1)).toBeGreaterThan(4.8);
  });

  it("gives the same bytes for the same seed and others for another", async () => {
    const folder = await emptyFolder();
    const run = async (seed: string, out: string) => {
      const { code } = await krait(["encode", "--text", words, "--seed", seed, "--no-page", "--out", out], {
        cwd: folder,
      });
      expect(code).toBe(0);
      return (await readFeatures(join(folder, out))).features;
    };
    const first = await run("7", "a.safetensors");
    expect(await run("7", "b.safetensors")).toEqual(first);
    expect(await run("8", "c.safetensors")).not.toEqual(first);
  });

  it("takes a picture", async () => {
    const folder = await emptyFolder();
    execFileSync("ffmpeg", [
      "-v",
      "error",
      "-f",
      "lavfi",
      "-i",
      "testsrc2=size=300x200",
      "-frames:v",
      "1",
      join(folder, "a.png"),
    ]);
    const { code, stdout } = await krait(["encode", "a.png", "--out", "a.safetensors", "--json"], { cwd: folder });
    expect(code).toBe(0);
    expect(JSON.parse(stdout).byModality).toEqual({ text: 0, audio: 0, video: 196, class: 0, separator: 0 });
  });
});

describe.skipIf(!canEncode)("a song with a cover picture", () => {
  it("is sound, and the picture is said to be left out", async () => {
    const folder = await emptyFolder();
    const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", ...args], { cwd: folder });
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1", "cover.png");
    const cover = ["-map", "0", "-map", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic"];
    ffmpeg("-f", "lavfi", "-i", "sine=d=2", "-i", "cover.png", ...cover, "song.mp3");
    const { code, stdout, stderr } = await krait(["encode", "song.mp3", "--out", "f", "--no-page", "--json"], {
      cwd: folder,
    });
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout).byModality).toMatchObject({ video: 0, text: 0 });
    expect(stderr).toContain("the cover picture inside song.mp3 is left out");
  });
});

describe.skipIf(!compiled)("the command", () => {
  it("answers --version and --help", async () => {
    const { version } = JSON.parse(await readFile(new URL("../packages/cli/package.json", import.meta.url), "utf8"));
    expect(await krait(["--version"])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
    const help = await krait(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect((await krait(["help", "encode"])).stdout).toContain("--chunk-tokens");
    expect((await krait(["encode", "--help"])).stdout).toBe((await krait(["help", "encode"])).stdout);
  });

  it.each([
    [],
    ["paint"],
    ["train"],
    ["encode"],
    ["encode", "a.mp4"],
    ["probe"],
    ["encode", "a", "--out", "b", "--fps", "x"],
  ])("refuses the command line %j %j %j with exit code 2", async (...args) => {
    const finished = await krait(args.filter((word) => word !== undefined));
    expect(finished.code).toBe(2);
    expect(finished.stdout).toBe("");
    expectFault(finished, /./);
  });

  it("gives errors as JSON too", async () => {
    const { code, stdout, stderr } = await krait(["probe", "no-such-file.mp4", "--json"]);
    expect(code).toBe(3);
    expect(stdout).toBe("");
    expect(JSON.parse(stderr).error).toMatchObject({
      kind: "input",
      code: "SOURCE_NOT_FOUND",
      hint: expect.any(String),
    });
  });

  it("shows the stack of an error on request only", async () => {
    expect((await krait(["probe", "no-such-file.mp4"])).stderr).not.toMatch(/^\s+at /m);
    expect((await krait(["probe", "no-such-file.mp4"], { env: { KRAIT_DEBUG: "1" } })).stderr).toMatch(/^\s+at /m);
  });

  it("probes media and text", async () => {
    const folder = await emptyFolder();
    await makeClip(folder);
    await writeFile(join(folder, "words.md"), words);
    const { stdout } = await krait(["probe", "clip.mp4", "--json"], { cwd: folder });
    const kinds = JSON.parse(stdout).streams.map((stream: { kind: string }) => stream.kind);
    expect(kinds.sort()).toEqual(["audio", "video"]);
    expect((await krait(["probe", "clip.mp4"], { cwd: folder })).stdout).toMatch(/320x180, yuv420p, 12 frames\/s/);
    expect(JSON.parse((await krait(["probe", "words.md", "--json"], { cwd: folder })).stdout).kind).toBe("text");
  });

  it("does not mind a reader that leaves early", async () => {
    const running = start(["doctor"]);
    running.child.stdout!.destroy();
    const { stderr } = await running.done;
    expect(stderr).toBe("");
  });

  it("tells what is missing when nothing is there", async () => {
    const env = { KRAIT_ADDON: "/no/such/krait.node", PATH: "/no/such/folder" };
    const { code, stdout } = await krait(["doctor", "--json"], { env, cwd: await emptyFolder() });
    const report = JSON.parse(stdout);
    expect(report.ffmpeg).toMatchObject({ reason: expect.stringContaining("ffmpeg"), hint: expect.any(String) });
    // In a built checkout the addon is still found beside the sources.
    expect(report.cpu.serves).toBe(code === 0);
  });
});
