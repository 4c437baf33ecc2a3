import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "@krait/formats";
import sharp from "sharp";
import { describe, expect, it, onTestFinished } from "vitest";
import { frontEnds, type TokenizeFileOptions, tokenizeFile } from "../src/index.js";

const fixture = (path: string) => fileURLToPath(new URL(`../../tokenizers/test/fixtures/${path}`, import.meta.url));

async function tensors(path: string) {
  await using file = await openSafetensors(path);
  const all: Record<string, { dtype: string; shape: readonly number[]; data: ArrayLike<number> }> = {};
  for (const [name, { dtype, shape }] of file.tensors) {
    all[name] = { dtype: dtype ?? "other", shape, data: (await file.read(name)) as Float32Array };
  }
  return all;
}

async function emptyFolder() {
  const folder = await mkdtemp(join(tmpdir(), "krait-tokenize-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function wav(samples: Float32Array, rate = 16000): Buffer {
  const head = Buffer.alloc(44);
  head.write("RIFF");
  head.writeUInt32LE(36 + samples.byteLength, 4);
  head.write("WAVEfmt ", 8);
  for (const [at, value] of [
    [16, 16],
    [24, rate],
    [28, rate * 4],
    [40, samples.byteLength],
  ] as const) {
    head.writeUInt32LE(value, at);
  }
  for (const [at, value] of [
    [20, 3],
    [22, 1],
    [32, 4],
    [34, 32],
  ] as const)
    head.writeUInt16LE(value, at);
  head.write("data", 36);
  return Buffer.concat([head, Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength)]);
}

function relativeRms(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let [error, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}

const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-y", ...args]);

async function tokenize(folder: string, file: string, options: Omit<TokenizeFileOptions, "out">) {
  const out = join(folder, "out.safetensors");
  const result = await tokenizeFile(join(folder, file), { ...options, out });
  return { result, ...(await tensors(out)) } as Awaited<ReturnType<typeof tensors>> & { result: typeof result };
}

describe("tokenizeFile", () => {
  it("names the published front ends", () => {
    const names = frontEnds.map(({ name }) => name);
    for (const name of ["whisper-80", "whisper-128", "kaldi-hanning-128", "kaldi-povey-80", "ast", "parakeet-80"]) {
      expect(names).toContain(name);
    }
    for (const name of ["clip", "siglip", "vit", "videomae", "vivit", "text"]) expect(names).toContain(name);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each([
    ["whisper-80", "golden", "whisper80.unpadded", true],
    ["whisper-128", "golden", "whisper128.unpadded", true],
    ["kaldi-hanning-128", "kaldi", "kaldi_fbank128_hanning", false],
    ["kaldi-povey-80", "kaldi", "kaldi_fbank80_povey_int16scale", false],
  ] as const)("writes the reference's %s of a wav file", async (preset, name, tensor, columns) => {
    const folder = await emptyFolder();
    const golden = await tensors(fixture(`audio/${name}.safetensors`));
    await writeFile(join(folder, "in.wav"), wav(golden.wave16k!.data as Float32Array));
    const { features, times } = await tokenize(folder, "in.wav", { preset });
    const { shape, data } = golden[tensor]!;
    const [bins, count] = (columns ? shape : [...shape].reverse()) as [number, number];
    expect(features).toMatchObject({ dtype: "f32", shape: [count, bins] });
    const wanted = columns
      ? Float32Array.from({ length: data.length }, (_, i) => data[(i % bins) * count + Math.floor(i / bins)]!)
      : data;
    expect(relativeRms(features!.data, wanted)).toBeLessThan(1e-4);
    expect(times).toMatchObject({ dtype: "f64", shape: [count, 2] });
    for (let i = 0; i < count; i++) {
      expect(times!.data[2 * i]).toBeCloseTo(i * 0.01, 9);
      expect(times!.data[2 * i + 1]).toBeCloseTo((i + 1) * 0.01, 9);
    }
  });

  it.each([
    ["clip", "landscape", "CLIPImageProcessorPil"],
    ["siglip", "tiny", "SiglipImageProcessorPil"],
    ["vit", "landscape", "ViTImageProcessorPil"],
  ] as const)("writes the reference's %s of a PNG file", async (preset, image, processor) => {
    const folder = await emptyFolder();
    const golden = await tensors(fixture("vision/golden.safetensors"));
    const { shape, data } = golden[`${image}.rgb`]!;
    const raw = { width: shape[1]!, height: shape[0]!, channels: 3 as const };
    await sharp(data as unknown as Uint8Array, { raw })
      .png()
      .toFile(join(folder, "in.png"));
    const { features, times } = await tokenize(folder, "in.png", { preset, size: 64 });
    expect(features!.shape).toEqual([1, 3 * 64 * 64]);
    const wanted = golden[`${image}.${processor}`]!.data;
    for (let i = 0; i < wanted.length; i++) expect(Math.abs(features!.data[i]! - wanted[i]!)).toBeLessThan(1e-6);
    expect([...(times!.data as Float64Array)]).toEqual([0, 0]);
  });

  it("writes the ids of a text", async () => {
    const folder = await emptyFolder();
    const { readFileSync } = await import("node:fs");
    const cases = JSON.parse(readFileSync(fixture("text/golden.json"), "utf8"));
    for (const family of Object.keys(cases)) {
      for (const { text, ids } of cases[family].filter((c: { text: string }) => c.text !== "")) {
        await writeFile(join(folder, "in.txt"), text);
        const tokenizer = fixture(`text/${family}.tokenizer.json`);
        const written = await tokenize(folder, "in.txt", { preset: "text", tokenizer });
        expect(written.ids).toMatchObject({ dtype: "i32", shape: [ids.length] });
        expect([...(written.ids!.data as Int32Array)]).toEqual(ids);
      }
    }
  });

  it("gives exact, fixed and running normalisations, and ignores the choice where there is none", async () => {
    const folder = await emptyFolder();
    const samples = Float32Array.from({ length: 24_000 }, (_, i) => Math.sin(i * i * 1e-5) * (i / 24_000));
    await writeFile(join(folder, "in.wav"), wav(samples));
    const modes = ["exact", "fixed", "running"] as const;
    for (const [preset, different] of [
      ["whisper-80", 3],
      ["parakeet-80", 3],
      ["kaldi-povey-80", 1],
    ] as const) {
      const results = new Set<string>();
      for (const normalization of modes) {
        const { features } = await tokenize(folder, "in.wav", { preset, normalization });
        results.add(Buffer.from((features!.data as Float32Array).buffer).toString("base64"));
      }
      expect(results.size).toBe(different);
    }
  });

  it.each(["24000/1001", "30000/1001", "25", "60"])(
    "keeps the times of a flash and a beep at %s frames per second",
    async (rate) => {
      const folder = await emptyFolder();
      const period = framePeriod(rate);
      // The flash is frame 20, the beep begins with it; in between the file is an mp4 with AAC and its edit list.
      const at = 20 * period;
      const picture = `color=c=black:s=64x48:r=${rate}:d=2,geq=lum='if(between(N,20,22),235,16)':cb=128:cr=128`;
      const sound = `aevalsrc='if(between(t,${at},${at + 0.1}),0.8*sin(2*PI*1000*t),0)':s=48000:d=2`;
      ffmpeg(
        "-f",
        "lavfi",
        "-i",
        picture,
        "-f",
        "lavfi",
        "-i",
        sound,
        "-c:v",
        "mpeg4",
        "-q:v",
        "2",
        "-c:a",
        "aac",
        join(folder, "in.mp4"),
      );
      const video = await tokenize(folder, "in.mp4", { preset: "siglip", size: 16 });
      const frames = Math.round(2 / period);
      expect(Math.abs(video.features!.shape[0]! - frames)).toBeLessThanOrEqual(1);
      const bright = Array.from({ length: video.features!.shape[0]! }, (_, i) => video.features!.data[i * 768]! > 0);
      expect(bright.indexOf(true)).toBe(20);
      for (let i = 0; i < bright.length; i++) {
        expect(Math.abs(video.times!.data[2 * i]! - i * period)).toBeLessThan(period / 2);
        expect(Math.abs(video.times!.data[2 * i + 1]! - (i + 1) * period)).toBeLessThan(period / 2);
      }
      const audio = await tokenize(folder, "in.mp4", { preset: "kaldi-povey-80" });
      const bins = 80;
      const level = Array.from({ length: audio.features!.shape[0]! }, (_, i) =>
        Math.max(...(audio.features!.data as Float32Array).subarray(i * bins, (i + 1) * bins)),
      );
      const loudest = Math.max(...level);
      const first = level.findIndex((v) => v > loudest - 3);
      // A frame hears 25 ms; it is loud when the beep fills about half of it.
      expect(Math.abs(audio.times!.data[2 * first]! + 0.0125 - video.times!.data[40]!)).toBeLessThan(0.02);
    },
  );

  it("keeps the start of sound that begins late", async () => {
    const folder = await emptyFolder();
    ffmpeg(
      ...["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2"],
      ...["-itsoffset", "0.7", "-f", "lavfi", "-i", "sine=frequency=500:duration=1:sample_rate=16000"],
      ...["-c:v", "mpeg4", "-c:a", "pcm_s16le", join(folder, "in.mkv")],
    );
    const { times } = await tokenize(folder, "in.mkv", { preset: "whisper-80" });
    expect(Math.abs(times!.data[0]! - 0.7)).toBeLessThan(0.005);
    expect(times!.shape).toEqual([100, 2]);
  });

  it("writes Qwen2-VL's patches of pairs of frames", async () => {
    const folder = await emptyFolder();
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=112x56:rate=10:duration=0.3", "-c:v", "ffv1", join(folder, "in.mkv"));
    const { features, times } = await tokenize(folder, "in.mkv", { preset: "qwen2-vl" });
    // 4 × 8 patches of two pairs; the third frame is its own partner.
    expect(features!.shape).toEqual([64, 3 * 2 * 14 * 14]);
    const row = (features!.data as Float32Array).subarray(63 * 1176);
    expect(row.subarray(0, 196)).toEqual(row.subarray(196, 392));
    expect(times!.data[2 * 63]).toBeCloseTo(0.2, 3);
    expect(times!.data[1]).toBeCloseTo(0.2, 3);
  });

  it("keeps fewer pictures where asked to", async () => {
    const folder = await emptyFolder();
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2", "-c:v", "mpeg4", join(folder, "in.mkv"));
    expect((await tokenize(folder, "in.mkv", { preset: "vit", size: 32, fps: 2 })).result.tokens).toBe(4);
    expect((await tokenize(folder, "in.mkv", { preset: "vit", size: 32, count: 3 })).result.tokens).toBe(3);
    expect((await tokenize(folder, "in.mkv", { preset: "vit", size: 32, start: 1, end: 1.5 })).result.tokens).toBe(5);
  });

  it("honours a preprocessor_config.json", async () => {
    const folder = await emptyFolder();
    const config = { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 20 }, crop_size: 16 };
    await writeFile(join(folder, "p.json"), JSON.stringify(config));
    await sharp({ create: { width: 30, height: 40, channels: 3, background: "#808080" } })
      .png()
      .toFile(join(folder, "in.png"));
    const { features } = await tokenize(folder, "in.png", { preset: "clip", processor: join(folder, "p.json") });
    expect(features!.shape).toEqual([1, 3 * 16 * 16]);
    // Patches of another size, blocks of another size, one frame at a time: 64 × 32 pixels are 4 × 2 patches.
    const patches = { patch_size: 16, merge_size: 1, temporal_patch_size: 1, min_pixels: 1 };
    await writeFile(
      join(folder, "q.json"),
      JSON.stringify({ image_processor_type: "Qwen2VLImageProcessor", ...patches }),
    );
    await sharp({ create: { width: 64, height: 32, channels: 3, background: "#808080" } })
      .png()
      .toFile(join(folder, "in.png"));
    const rows = await tokenize(folder, "in.png", { preset: "qwen2-vl", processor: join(folder, "q.json") });
    expect(rows.features!.shape).toEqual([8, 3 * 16 * 16]);
  });

  it.each([
    [{ preset: "nonesuch" }, "PRESET_UNKNOWN"],
    [{ preset: "text" }, "TOKENIZER_MISSING"],
    [{ preset: "bytes", tokenizer: "x.json" }, "INVALID_OPTION"],
    [{ preset: "whisper-80", size: 32 }, "INVALID_OPTION"],
    [{ preset: "clip", tokenizer: "x.json" }, "INVALID_OPTION"],
    [{ preset: "clip", size: 0 }, "INVALID_OPTION"],
    [{ preset: "clip", normalization: "none" }, "INVALID_OPTION"],
    [{ preset: "clip" }, "MEDIA_NO_VIDEO"],
    [{ preset: "clip", processor: "/nonesuch.json" }, "FILE_NOT_FOUND"],
  ])("refuses %j and leaves nothing behind", async (options, code) => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "in.wav"), wav(new Float32Array(1600)));
    const promise = tokenize(folder, "in.wav", options as TokenizeFileOptions);
    await expect(promise).rejects.toMatchObject({ code });
    expect(await readdir(folder)).toEqual(["in.wav"]);
  });

  it("stops on a signal in the middle and leaves nothing behind", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "in.wav"), wav(new Float32Array(16_000 * 120)));
    const controller = new AbortController();
    const promise = tokenize(folder, "in.wav", {
      preset: "kaldi-povey-80",
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(promise).rejects.toMatchObject({ code: "ABORTED" });
    expect(await readdir(folder)).toEqual(["in.wav"]);
  });
});

/** Seconds per frame. */
function framePeriod(rate: string): number {
  const [frames, seconds = 1] = rate.split("/").map(Number) as [number, number?];
  return seconds / frames;
}
