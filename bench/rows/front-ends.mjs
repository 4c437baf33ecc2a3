// The front ends: mel of an hour on one core, Pillow-equal resizing beside sharp, and frames of video from the file to pixel values beside
// ffmpeg decoding the same file to nothing. What is compared runs in turns, so that both see the same machine.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { decode } from "../../packages/media/dist/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";
import {
  createSpectral,
  ImageProcessor,
  imagePreset,
  openDeviceResizer,
  Resizer,
  whisperDefinition,
} from "../../packages/tokenizers/dist/index.js";
import { median } from "../lib/kit.mjs";

const run = promisify(execFile);
const RATE = 16000;

async function milliseconds(work) {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Medians of works that take turns, in milliseconds, by name. */
async function inTurns(works, rounds) {
  const times = Object.fromEntries(Object.keys(works).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, work] of Object.entries(works)) {
      const ms = await milliseconds(work);
      if (round > 0) times[name].push(ms);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]));
}

async function mel(kit, bins) {
  const seconds = kit.quick ? 60 : 3600;
  const signal = Float32Array.from(
    { length: seconds * RATE },
    (_, i) => 0.3 * Math.sin(i * 0.05) + 0.1 * Math.sin(i * i),
  );
  const device = await openDevice({ device: "cpu", threads: 1 });
  try {
    const frontEnd = await createSpectral(device, whisperDefinition(bins, { mode: "fixed" }), { chunkFrames: 512 });
    const pass = async () => {
      const stream = frontEnd.stream();
      for (let at = 0; at < signal.length; at += RATE) await stream.push(signal.subarray(at, at + RATE));
      await stream.finish();
    };
    const { ms } = await inTurns({ ms: pass }, 3);
    const frames = seconds * 100;
    const flops = frames * (2 * 402 * 400 + 2 * bins * 402);
    const floorMs = flops / kit.machine.f32Gflops / 1e6;
    return {
      seconds,
      threads: 1,
      ms,
      timesRealTime: (seconds * 1000) / ms,
      gflops: flops / ms / 1e6,
      floorMsAllCores: floorMs,
    };
  } finally {
    await device.close();
  }
}

const sharpKernels = { bicubic: "cubic", bilinear: "linear", lanczos: "lanczos3" };

async function resize(kit, filter) {
  const sharp = createRequire(new URL("../../packages/media/package.json", import.meta.url))("sharp");
  sharp.cache(false);
  sharp.concurrency(1);
  const source = { width: 1280, height: 720 };
  const target = { width: 398, height: 224 };
  const box = { left: 87, top: 0, width: 224, height: 224 };
  const pixels = Uint8Array.from({ length: source.width * source.height * 3 }, () => Math.random() * 256);
  const device = await openDevice({ device: "cpu", threads: 1 });
  try {
    const native = openDeviceResizer(device, source, target, filter, box);
    const plain = new Resizer(source, target, filter, box);
    const beside = () =>
      sharp(pixels, { raw: { ...source, channels: 3 } })
        .resize(224, 224, { fit: "cover", kernel: sharpKernels[filter], fastShrinkOnLoad: false })
        .raw()
        .toBuffer();
    const works = { native: () => native.run(pixels), sharp: beside, typescript: () => plain.run(pixels) };
    const { native: ms, sharp: sharpMs, typescript } = await inTurns(works, kit.quick ? 20 : 100);
    return { threads: 1, ms, sharpMs, ratio: sharpMs / ms, typescriptMs: typescript };
  } finally {
    await device.close();
  }
}

/** 720p at 25 frames per second, textured and moving, with a key frame every 250. */
function makeClip(folder, seconds) {
  const path = join(folder, "clip.mp4");
  const input = ["-f", "lavfi", "-i", `testsrc2=size=1280x720:rate=25:duration=${seconds},noise=alls=12:allf=t`];
  const codec = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "3M", "-g", "250", "-pix_fmt", "yuv420p"];
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-y", ...input, ...codec, path]);
  return path;
}

async function frames(kit) {
  const seconds = kit.quick ? 4 : 20;
  const folder = mkdtempSync(join(tmpdir(), "krait-bench-"));
  const device = await openDevice({ device: "cpu", threads: kit.machine.threads });
  try {
    const clip = makeClip(folder, seconds);
    const count = seconds * 25;
    const drain = async (video, each) => {
      let seen = 0;
      for await (const part of decode(clip, { video: { sampling: "all", ...video } })) {
        seen++;
        await each(part);
      }
      if (seen !== count) throw new Error(`expected ${count} frames, not ${seen}`);
    };
    const exact = async () => {
      const processor = new ImageProcessor(imagePreset("clip"), device);
      let ahead;
      await drain({}, async (frame) => {
        const next = processor.run(frame);
        await ahead;
        ahead = next;
      });
      await ahead;
      await processor.close();
    };
    const works = {
      ffmpegNull: () => run("ffmpeg", ["-v", "error", "-nostdin", "-i", clip, "-f", "null", "-"]),
      ffmpegRgbNull: () =>
        run("ffmpeg", [
          "-v",
          "error",
          "-nostdin",
          "-i",
          clip,
          "-pix_fmt",
          "rgb24",
          "-f",
          "rawvideo",
          "-y",
          "/dev/null",
        ]),
      exact,
      fast: () => drain({ width: 224, height: 224, fit: "cover" }, () => undefined),
    };
    const times = await inTurns(works, kit.quick ? 2 : 5);
    const rate = (ms) => (count / ms) * 1000;
    return {
      frames: count,
      threads: kit.machine.threads,
      framesPerSecond: rate(times.exact),
      fastFramesPerSecond: rate(times.fast),
      ffmpegNullFramesPerSecond: rate(times.ffmpegNull),
      ffmpegRgbNullFramesPerSecond: rate(times.ffmpegRgbNull),
      ratio: times.exact / times.ffmpegNull,
      fastRatio: times.fast / times.ffmpegNull,
    };
  } finally {
    await device.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

export const rows = [
  { id: "front-ends/mel-hour/whisper-80", run: (kit) => mel(kit, 80) },
  { id: "front-ends/mel-hour/whisper-128", run: (kit) => mel(kit, 128) },
  ...Object.keys(sharpKernels).map((filter) => ({
    id: `front-ends/resize-720p-to-224/${filter}`,
    run: (kit) => resize(kit, filter),
  })),
  { id: "front-ends/video-720p-to-224/clip", run: frames },
];
