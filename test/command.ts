import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished } from "vitest";
import { treeBytes } from "../bench/lib/processes.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "packages/cli/bin/krait.js");

/** Whether the command is compiled; its tests run the compiled one. */
export const compiled = ["cli", "krait"].every((name) => existsSync(join(root, "packages", name, "dist/index.js")));
/** Whether it can also compute. */
export const canEncode = compiled && existsSync(process.env.KRAIT_ADDON ?? join(root, "build/native/krait.node"));

export interface Finished {
  /** Undefined when a signal ended it. */
  code: number | undefined;
  stdout: string;
  stderr: string;
  /** The most that it and what it had started held at a time, sampled every 10 ms; 0 where /proc does not tell. */
  peakBytes: number;
}

export interface Running {
  child: ChildProcess;
  done: Promise<Finished>;
  /** What came on standard error so far. */
  stderr(): string;
}

/** No command of these tests takes this long; one that does hangs. Milliseconds. */
const patience = 45_000;

/** No refusal needs more, whatever the input says of itself: Node with its libraries takes 150 MB, ffmpeg 50 MB. */
const mostBytes = 512 * 2 ** 20;

export interface StartOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** In a process group of its own, as a shell does it. */
  group?: boolean;
  /** Leaves its standard input open for the test to write to. */
  stdin?: boolean;
}

export function start(args: readonly string[], { cwd, env, group = false, stdin = false }: StartOptions = {}): Running {
  const child = spawn(process.execPath, [bin, ...args], {
    stdio: [stdin ? "pipe" : "ignore", "pipe", "pipe"],
    env: { ...process.env, KRAIT_DEBUG: "", ...env },
    detached: group,
    ...(cwd !== undefined && { cwd }),
  });
  let stdout = "";
  let stderr = "";
  child.stdout!.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr!.setEncoding("utf8").on("data", (text) => (stderr += text));
  let peakBytes = 0;
  const watch = setInterval(() => {
    if (process.platform === "linux" && child.pid) peakBytes = Math.max(peakBytes, treeBytes(child.pid));
  }, 10);
  const done = new Promise<Finished>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`krait ${args.join(" ")} hangs\n${stderr}`));
    }, patience);
    child.once("error", (error) => {
      clearInterval(watch);
      reject(error);
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      clearInterval(watch);
      resolve({ code: code ?? undefined, stdout, stderr, peakBytes });
    });
  });
  return { child, done, stderr: () => stderr };
}

export function krait(args: readonly string[], options: StartOptions = {}): Promise<Finished> {
  return start(args, options).done;
}

/** An empty folder for one test. */
export async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "krait-command-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * Encodes in a folder and expects a typed error with a hint, the exit code, nothing on standard output and no file that was not
 * there before.
 */
export async function expectRefusal(
  folder: string,
  args: readonly string[],
  { code, exit = 3, out = "out.safetensors" }: { code: string | RegExp; exit?: number; out?: string },
): Promise<void> {
  const before = (await readdir(folder)).sort();
  const finished = await krait(["encode", ...args, "--out", out], { cwd: folder });
  expectFault(finished, code);
  expect(finished.code).toBe(exit);
  expect(finished.stdout).toBe("");
  expect((await readdir(folder)).sort()).toEqual(before);
}

/** The last words must be a sentence, a hint and a code; no stack; and it must not have cost much memory to say them. */
export function expectFault({ stderr, peakBytes }: Finished, code: string | RegExp): void {
  const said = /^krait: (.+)\n {2}hint: (.+) {2}\[([A-Z0-9_]+)\]\n$/m.exec(stderr);
  expect(said, stderr).not.toBeNull();
  expect(said![3]).toMatch(typeof code === "string" ? new RegExp(`^${code}$`) : code);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(peakBytes).toBeLessThan(mostBytes);
}
