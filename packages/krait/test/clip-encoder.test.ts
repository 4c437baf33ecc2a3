import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "@krait/formats";
import { afterAll, beforeAll, expect, test } from "vitest";
import { randomState, sizesOf } from "../../nn/test/published-encoders.js";
import { inspectFeatureEncoder, inspectModel, loadClipEncoder, tokenizeFile } from "../src/index.js";

const WIDTH = 20;
const sizes = sizesOf(WIDTH, 4);
const base = { embed_dim: WIDTH, depth: 1, ssm_cfg: { d_state: 4 } };
const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-y", ...args]);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-clips-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function store(
  name: string,
  config: object,
  type: "v1" | "v2",
  others: Record<string, number[]>,
): Promise<string> {
  const at = join(folder, name);
  await mkdir(at);
  const state = randomState(1, 1, sizes, type, {
    cls_token: [1, 1, WIDTH],
    "patch_embed.proj.bias": [WIDTH],
    ...others,
  });
  const tensors = Object.entries(state).map(([key, t]) => [key, { dtype: "f32" as const, ...t }]);
  await writeSafetensors(join(at, "model.safetensors"), Object.fromEntries(tensors));
  await writeFile(join(at, "config.json"), JSON.stringify({ ...base, ...config }));
  return at;
}

async function front(path: string, preset: string, options: object): Promise<Float32Array> {
  const out = join(folder, "front.safetensors");
  await tokenizeFile(path, { preset, out, ...options });
  await using file = await openSafetensors(out);
  return await file.readFloat32("features");
}

test("a clip of a video is read as VideoMamba's front end makes it, and encoded", async () => {
  const path = await store("video", { model_type: "videomamba", img_size: 32, num_frames: 4, kernel_size: 2 }, "v2", {
    pos_embed: [1, 5, WIDTH],
    temporal_pos_embedding: [1, 2, WIDTH],
    "patch_embed.proj.weight": [WIDTH, 3, 2, 16, 16],
  });
  const clip = join(folder, "clip.mkv");
  ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=8:duration=2", clip);
  const encoder = await loadClipEncoder(path, { device: "cpu", maxClips: 2 });
  try {
    const values = await encoder.read(clip);
    expect(values).toEqual(await front(clip, "videomamba", { size: 32, count: 4 }));
    const [one, other] = await encoder.encode([values, await encoder.read(clip, { start: 1 })]);
    expect(encoder.grid).toEqual({ frames: 2, rows: 2, columns: 2 });
    expect([one!.features.length, one!.classToken.length, one!.logits]).toEqual([8 * WIDTH, WIDTH, undefined]);
    expect(one!.features.every(Number.isFinite)).toBe(true);
    expect(other!.features).not.toEqual(one!.features);
    const copied = await loadClipEncoder(path, { device: "cpu", weights: "copied" });
    const [same] = await copied.encode([values]);
    await copied.close();
    expect(same).toEqual(one);
    await expect(encoder.encode([values.subarray(1)])).rejects.toMatchObject({ code: "INPUT_SIZE" });
  } finally {
    await encoder.close();
  }
  expect(await inspectFeatureEncoder(path)).toMatchObject({ family: "videomamba", input: [4, 3, 32, 32], tokens: 9 });
  await expect(inspectModel(path)).rejects.toMatchObject({ code: "MODEL_TYPE_UNKNOWN" });
});

test("sound is read as AST's front end makes it, and encoded by AuM", async () => {
  const path = await store("sound", { model_type: "aum", spectrogram_size: [128, 64] }, "v1", {
    "pos_embed.pos_embed": [1, 33, WIDTH],
    "patch_embed.proj.weight": [WIDTH, 1, 16, 16],
  });
  const sound = join(folder, "sound.wav");
  ffmpeg("-f", "lavfi", "-i", "sine=frequency=700:duration=1:sample_rate=16000", sound);
  const encoder = await loadClipEncoder(path, { device: "cpu" });
  try {
    const values = await encoder.read(sound);
    expect(values).toEqual((await front(sound, "ast", {})).slice(0, 64 * 128));
    // Half of the spread doubles what is far from the mean.
    const narrow = await encoder.read(sound, { std: 4.5689974 / 2 });
    expect(narrow[7000]).toBeCloseTo(2 * values[7000]!, 4);
    const [result] = await encoder.encode([values]);
    expect(result!.features.length).toBe(8 * 4 * WIDTH);
  } finally {
    await encoder.close();
  }
});
