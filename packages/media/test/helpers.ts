import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { KraitError } from "@krait/core";
import { afterAll, beforeAll, expect } from "vitest";
import type { AudioPart, MediaPart, MediaStream, VideoPart } from "../src/index.js";

const run = promisify(execFile);

/** A folder that is there while the tests of a file run. */
export function temporaryFolder(): (name: string) => string {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "krait-media-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return (name) => join(folder, name);
}

/** Runs ffmpeg; the words of `args` are split at spaces. */
export async function ffmpeg(args: string, output: string): Promise<string> {
  await run("ffmpeg", ["-v", "error", "-nostdin", "-y", ...args.split(" "), output]);
  return output;
}

/** What ffprobe says of every frame of a stream: seconds, in order of presentation. */
export async function frameTimes(path: string, stream = "v:0"): Promise<number[]> {
  const { stdout } = await run("ffprobe", [
    ...["-v", "error", "-select_streams", stream, "-show_entries", "frame=pts_time", "-of", "json", path],
  ]);
  const { frames } = JSON.parse(stdout) as { frames: { pts_time: string }[] };
  return frames.map((frame) => Number(frame.pts_time));
}

export interface Decoded {
  parts: MediaPart[];
  video: VideoPart[];
  audio: AudioPart[];
  error: unknown;
}

/** Everything a stream yields, and what it throws in the end. */
export async function collect(stream: MediaStream): Promise<Decoded> {
  const parts: MediaPart[] = [];
  let error: unknown;
  try {
    for await (const part of stream) parts.push(part);
  } catch (thrown) {
    error = thrown;
  }
  return {
    parts,
    video: parts.filter((part) => part.kind === "video"),
    audio: parts.filter((part) => part.kind === "audio"),
    error,
  };
}

export async function decoded(stream: MediaStream): Promise<Decoded> {
  const result = await collect(stream);
  if (result.error !== undefined) throw result.error;
  return result;
}

/** Asserts a typed error with a code and a hint. */
export function expectCode(error: unknown, code: string): void {
  if (!KraitError.is(error)) throw new Error(`expected ${code}, not ${error}`, { cause: error });
  expect(error.code).toBe(code);
  expect(error.hint).toBeTruthy();
}

export async function expectRejection(promise: Promise<unknown>, code: string): Promise<KraitError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expectCode(error, code);
  return error as KraitError;
}

/** All samples on one clock, and the start of the first. Fails where a part does not begin where the last one ended. */
export function joinAudio(parts: AudioPart[]): { start: number; samples: Float32Array } {
  const start = parts[0]?.start ?? Number.NaN;
  const samples = new Float32Array(parts.reduce((sum, part) => sum + part.samples.length, 0));
  let done = 0;
  for (const part of parts) {
    expect(part.start).toBeCloseTo(start + done / part.sampleRate, 9);
    samples.set(part.samples, done);
    done += part.samples.length;
  }
  return { start, samples };
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** ‖a − b‖ / ‖b‖ */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Processes of ours whose command line names a file, by /proc; zombies have none and are told apart by their state. */
export async function processesNaming(path: string): Promise<number[]> {
  const { stdout } = await run("ps", ["-eo", "pid=,stat=,args="]);
  return stdout
    .split("\n")
    .filter((line) => line.includes(path) && !line.includes("ps -eo"))
    .map((line) => Number.parseInt(line, 10));
}

/** ffmpeg children of this process that were not reaped. */
export function zombies(): string[] {
  const task = `/proc/${process.pid}/task/${process.pid}/children`;
  if (!existsSync(task)) return [];
  const children = readFileSync(task, "utf8").trim().split(" ").filter(Boolean);
  return children.filter((pid) => / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")));
}
