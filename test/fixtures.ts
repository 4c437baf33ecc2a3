import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { EncoderConfigInput } from "krait";
import { afterAll, beforeAll } from "vitest";

/** Whether the kernels are built; without them nothing can be encoded. */
export const built = existsSync(
  process.env.KRAIT_ADDON ?? fileURLToPath(new URL("../build/native/krait.node", import.meta.url)),
);

/** An encoder of all three modalities whose run takes a millisecond: 4 tokens per tubelet, a window shorter than the sequences. */
export const tinyConfig: EncoderConfigInput = {
  model_type: "krait_encoder",
  version: 1,
  inputs: { video: { width: 32, height: 32, patch: 16 }, audio: {}, text: {} },
  stack: {
    width: 32,
    layout: "M2 A M2",
    mamba2: { stateSize: 16, headDim: 16, chunkSize: 16 },
    attention: { heads: 2, keyHeads: 1, window: 24, sinks: 2 },
  },
};

export const tiny = { seed: 5, config: tinyConfig };

/** A folder for the tests of one file. */
export function folderOfTests(): (name: string) => string {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "krait-test-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return (name) => join(folder, name);
}

/** The names in such a folder that begin so. */
export const namesIn = (at: (name: string) => string) => (prefix: string) =>
  readdirSync(dirname(at("x"))).filter((name) => name.startsWith(prefix));

/** A moving picture with a tone that comes and goes. */
export function makeClip(path: string, { seconds, size = "64x48", rate = 10 }: ClipShape): string {
  const inputs = [
    ...["-f", "lavfi", "-i", `testsrc2=size=${size}:rate=${rate}:duration=${seconds}`],
    ...["-f", "lavfi", "-i", `aevalsrc=0.4*sin(2*PI*t*(220+40*t))*gt(sin(3*t)\\,0):s=16000:d=${seconds}`],
  ];
  const codecs = ["-c:v", "mpeg4", "-q:v", "4", "-c:a", path.endsWith(".mp4") ? "aac" : "pcm_s16le"];
  execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-y", ...inputs, ...codecs, path]);
  return path;
}

interface ClipShape {
  seconds: number;
  size?: string;
  rate?: number;
}

/** ‖a − b‖ / ‖b‖, infinite where one is longer or something is no number. */
export function relativeRms(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length || b.length === 0) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  const error = Math.sqrt(difference / norm);
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

/** Collects garbage, twice: what finalizers let go of in the first round goes in the second. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let i = 0; i < 2; i++) {
    collect();
    await sleep(20);
  }
}
