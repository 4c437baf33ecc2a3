// The front ends: mel of an hour and resampling on one core, Pillow-equal resizing beside sharp, and frames of video from the file to pixel values beside
// ffmpeg decoding the same file to nothing. What is compared runs in turns, so that both see the same machine.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { decode, Resampler } from "../../packages/media/dist/index.js";
import { openDevice, polyphase } from "../../packages/runtime/dist/index.js";
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

/** Time on the clock and of all threads of this process, in milliseconds. */
async function measured(work) {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await work();
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  return { ms, cpuMs: (user + system) / 1000 };
}

/** Medians and, for machines that others use too, the best of works that take turns, by name. */
async function inTurns(works, rounds) {
  const times = Object.fromEntries(Object.keys(works).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, work] of Object.entries(works)) {
      const time = await measured(work);
      if (round > 0) times[name].push(time);
    }
  }
  const medians = (all) => {
    const clock = all.map(({ ms }) => ms);
    return { ms: median(clock), bestMs: Math.min(...clock), cpuMs: median(all.map(({ cpuMs }) => cpuMs)) };
  };
  return Object.fromEntries(Object.entries(times).map(([name, all]) => [name, medians(all)]));
}

async function mel(kit, bins) {
  const seconds = kit.quick ? 60 : 3600;
  // One minute, over and over: what it says does not matter.
  const minute = Float32Array.from({ length: 60 * RATE }, (_, i) => 0.3 * Math.sin(i * 0.05) + 0.1 * Math.sin(i * i));
  const device = await openDevice({ device: "cpu", threads: 1 });
  try {
    const frontEnd = await createSpectral(device, whisperDefinition(bins, { mode: "fixed" }), { chunkFrames: 512 });
    const pass = async () => {
      const stream = frontEnd.stream();
      for (let second = 0; second < seconds; second++) {
        const at = (second % 60) * RATE;
        await stream.push(minute.subarray(at, at + RATE));
      }
      await stream.finish();
    };
    const { ms, bestMs, cpuMs } = (await inTurns({ pass }, 3)).pass;
    const frames = seconds * 100;
    // A real transform of 400 by halves, and a product with all 201 powers.
    const flops = frames * (2.5 * 400 * Math.log2(400) + 2 * bins * 201);
    const floorMsAllThreads = flops / kit.machine.f32Gflops / 1e6;
    const timesRealTime = (seconds * 1000) / ms;
    const best = (seconds * 1000) / bestMs;
    return { seconds, threads: 1, ms, bestMs, cpuMs, timesRealTime, bestTimesRealTime: best, floorMsAllThreads };
  } finally {
    await device.close();
  }
}

/** Ten minutes at `rate` to 16 kHz, natively and in TypeScript. */
async function resample(kit, rate) {
  const seconds = kit.quick ? 20 : 600;
  const second = Float32Array.from({ length: rate }, (_, i) => 0.3 * Math.sin(i * 0.05));
  const pass = (options, count) => () => {
    const resampler = new Resampler(rate, RATE, options);
    for (let i = 0; i < count; i++) resampler.push(second);
    resampler.flush();
  };
  const { own } = await inTurns({ own: pass({ polyphase }, seconds) }, 5);
  const { plain } = await inTurns({ plain: pass({}, 20) }, 3);
  const times = ({ ms }, of) => (of * 1000) / ms;
  return { seconds, threads: 1, ...own, timesRealTime: times(own, seconds), typescriptTimesRealTime: times(plain, 20) };
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
    // Frames come one after the other: a few at a time, as in a video.
    const five = (work) => async () => {
      for (let i = 0; i < 5; i++) await work();
    };
    const works = { own: five(() => native.run(pixels)), sharp: five(beside) };
    const { own, sharp: other } = await inTurns(works, kit.quick ? 10 : 60);
    const { plain: typescript } = await inTurns({ plain: () => plain.run(pixels) }, kit.quick ? 5 : 20);
    return {
      threads: 1,
      ms: own.ms / 5,
      sharpMs: other.ms / 5,
      ratio: other.ms / own.ms,
      bestMs: own.bestMs / 5,
      sharpBestMs: other.bestMs / 5,
      bestRatio: other.bestMs / own.bestMs,
      cpuMs: own.cpuMs / 5,
      sharpCpuMs: other.cpuMs / 5,
      typescriptMs: typescript.ms,
      typescriptBestMs: typescript.bestMs,
    };
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
    const rate = ({ ms }) => (count / ms) * 1000;
    return {
      frames: count,
      threads: kit.machine.threads,
      framesPerSecond: rate(times.exact),
      fastFramesPerSecond: rate(times.fast),
      ffmpegNullFramesPerSecond: rate(times.ffmpegNull),
      ffmpegRgbNullFramesPerSecond: rate(times.ffmpegRgbNull),
      ratio: times.exact.ms / times.ffmpegNull.ms,
      fastRatio: times.fast.ms / times.ffmpegNull.ms,
      bestRatio: times.exact.bestMs / times.ffmpegNull.bestMs,
      fastBestRatio: times.fast.bestMs / times.ffmpegNull.bestMs,
    };
  } finally {
    await device.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

export const rows = [
  { id: "front-ends/mel-hour/whisper-80", run: (kit) => mel(kit, 80) },
  { id: "front-ends/mel-hour/whisper-128", run: (kit) => mel(kit, 128) },
  { id: "front-ends/resample-to-16k/44100", run: (kit) => resample(kit, 44100) },
  { id: "front-ends/resample-to-16k/48000", run: (kit) => resample(kit, 48000) },
  ...Object.keys(sharpKernels).map((filter) => ({
    id: `front-ends/resize-720p-to-224/${filter}`,
    run: (kit) => resize(kit, filter),
  })),
  { id: "front-ends/video-720p-to-224/clip", run: frames },
];
