import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import {
  audio,
  type Encoder,
  encodeFile,
  image,
  KraitError,
  loadEncoder,
  type Source,
  text,
  textFile,
  video,
} from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, tiny, tinyConfig } from "./fixtures.js";

const at = folderOfTests();

/** A typed error of the wanted kind that tells what to do, soon. Returns its code. */
async function refusal(work: Promise<unknown>, kind: "input" | "usage" = "input"): Promise<string> {
  const begun = performance.now();
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!KraitError.is(error)) throw new Error(`expected a typed error, not ${error}`, { cause: error });
  expect(error.kind, error.message).toBe(kind);
  expect(error.hint).toMatch(/\w{2}.*[.)}]$/s);
  expect(error.message).toMatch(/^Expected .* but /s);
  expect(performance.now() - begun).toBeLessThan(10_000);
  return error.code;
}

describe.skipIf(!built)("a bad source", () => {
  let encoder: Encoder;
  beforeAll(async () => {
    encoder = await loadEncoder(tiny, { device: "cpu", chunkTokens: 64 });
    await mkdir(at("out"));
  });
  afterAll(() => encoder.close());

  /** All ways in refuse it with the same code, and leave no file. */
  async function expectRefused(source: Source, code: string | RegExp): Promise<void> {
    const wanted = typeof code === "string" ? new RegExp(`^${code}$`) : code;
    expect(await refusal(encoder.encode([source]))).toMatch(wanted);
    expect(await refusal(encoder.encode([text("fine"), source], { onProgress: () => {} }))).toMatch(wanted);
    const job = { out: at("out/f.safetensors"), page: at("out/f.html") };
    expect(await refusal(encodeFile(encoder, [source], job))).toMatch(wanted);
    expect(await readdir(at("out"))).toEqual([]);
    // The encoder is none the worse for it.
    expect((await encoder.encode([text("fine")])).tokens).toHaveLength(4);
  }

  const kinds = { video, audio, image, textFile } as const;
  const names = Object.keys(kinds) as (keyof typeof kinds)[];

  it.each(names)("that does not exist, as %s", async (kind) => {
    await expectRefused(kinds[kind](at("no-such.mp4")), kind === "textFile" ? "FILE_NOT_FOUND" : "SOURCE_NOT_FOUND");
  });

  it.each(names)("that is empty, as %s", async (kind) => {
    await writeFile(at("empty.mp4"), "");
    await expectRefused(kinds[kind](at("empty.mp4")), kind === "textFile" ? "FILE_EMPTY" : "SOURCE_EMPTY");
  });

  it.each(names)("that is a directory, as %s", async (kind) => {
    await mkdir(at("folder.mp4"), { recursive: true });
    await expectRefused(kinds[kind](at("folder.mp4")), kind === "textFile" ? "NOT_A_FILE" : "SOURCE_IS_DIRECTORY");
  });

  it.skipIf(process.platform === "win32").each(names)("that is a FIFO, as %s", async (kind) => {
    const path = at(`${kind}.pipe`);
    execFileSync("mkfifo", [path]);
    await expectRefused(kinds[kind](path), kind === "textFile" ? "NOT_A_FILE" : "SOURCE_NOT_A_FILE");
  });

  it("of random bytes named .wav", async () => {
    const bytes = randomFillSync(new Uint8Array(40_000));
    bytes[0] = 0xff; // no magic number of anything, nor of text
    await writeFile(at("noise.wav"), bytes);
    await expectRefused(audio(at("noise.wav")), /^(MEDIA|WAV|SOURCE)_[A-Z_]+$/);
    await expectRefused(video(at("noise.wav")), /^(MEDIA|WAV|SOURCE)_[A-Z_]+$/);
    await expectRefused(textFile(at("noise.wav")), "TEXT_NOT_UTF8");
  });

  it("that is an mp4 cut before its index, or in its data", async () => {
    const clip = makeClip(at("whole.mp4"), { seconds: 8, size: "160x120" });
    const bytes = await readFile(clip);
    await writeFile(at("headless.mp4"), bytes.subarray(0, bytes.length / 2));
    await expectRefused(video(at("headless.mp4")), /^MEDIA_(INVALID|TRUNCATED)$/);
    const faststart = at("faststart.mp4");
    execFileSync("ffmpeg", ["-v", "error", "-i", clip, "-c", "copy", "-movflags", "faststart", faststart]);
    await truncate(faststart, Math.floor(bytes.length * 0.6));
    await expectRefused(video(faststart), "MEDIA_TRUNCATED");
    await expectRefused(audio(faststart), "MEDIA_TRUNCATED");
  });

  it.each([
    ["m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"],
    ["ffconcat", "ffconcat version 1.0\nfile /etc/passwd\n"],
    ["DASH", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>\n'],
  ])("that is a playlist (%s) named .mp4", async (name, content) => {
    await writeFile(at(`${name}.mp4`), content);
    await expectRefused(video(at(`${name}.mp4`)), "SOURCE_IS_PLAYLIST");
    await expectRefused(audio(at(`${name}.mp4`)), "SOURCE_IS_PLAYLIST");
  });

  it("on the network, without a picture, or without a sound", async () => {
    await expectRefused(video("http://127.0.0.1:9/clip.mp4"), "SOURCE_IS_ADDRESS");
    const sound = at("sound.wav");
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", "sine=d=1", sound]);
    await expectRefused(video(sound), "MEDIA_NO_VIDEO");
    execFileSync("ffmpeg", [
      "-v",
      "error",
      "-f",
      "lavfi",
      "-i",
      "testsrc2=s=64x64:d=1",
      "-c:v",
      "mpeg4",
      at("mute.mp4"),
    ]);
    await expectRefused(audio(at("mute.mp4")), "MEDIA_NO_AUDIO");
    await expectRefused(audio(at("mute.mp4"), { stream: 7 }), "MEDIA_NO_AUDIO");
  });

  it("is told from wrong arguments", async () => {
    const code = (work: () => unknown) => refusal((async () => work())(), "usage");
    expect(await code(() => video(""))).toBe("INVALID_OPTION");
    expect(await code(() => video("a.mp4", { fps: 0 }))).toBe("INVALID_OPTION");
    expect(await code(() => video("a.mp4", { fps: 1, count: 3 }))).toBe("INVALID_OPTION");
    expect(await code(() => audio("a.mp4", { start: -1 }))).toBe("INVALID_OPTION");
    expect(await code(() => text(7 as never))).toBe("INVALID_OPTION");
    expect(await code(() => encoder.encode([]))).toBe("NO_SOURCES");
    expect(await code(() => loadEncoder({ seed: -1 }))).toBe("INVALID_OPTION");
    expect(await code(() => loadEncoder({ seed: 0 }, { chunkTokens: 0 }))).toBe("INVALID_OPTION");
    expect(await code(() => loadEncoder({ seed: 0 }, { colour: "red" } as never))).toBe("INVALID_OPTION");
  });

  it("is too much for one result", async () => {
    const large = encoder.encode([text("word ".repeat(1000))], { maxResultBytes: 10_000 });
    await expect(large).rejects.toMatchObject({ hint: expect.stringContaining("stream()") });
    expect(await refusal(large)).toBe("RESULT_TOO_LARGE");
    for (const maxResultBytes of [0, -1, Number.NaN]) {
      expect(await refusal(encoder.encode([text("word")], { maxResultBytes }), "usage")).toBe("INVALID_OPTION");
    }
  });

  it("has no place in a model without its modality", async () => {
    const config = { ...tinyConfig, inputs: { text: {} } };
    const reader = await loadEncoder({ seed: 0, config }, { device: "cpu" });
    try {
      for (const source of [video(at("whole.mp4")), audio(at("whole.mp4"))])
        expect(await refusal(reader.encode([source]))).toBe("MODALITY_UNSUPPORTED");
    } finally {
      await reader.close();
    }
  });
});
