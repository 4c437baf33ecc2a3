import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import { EnvironmentError, InputError } from "@krait/core";
import ffmpeg from "fluent-ffmpeg";
import { ByteQueue } from "./byte-queue.js";

/** The one file that knows fluent-ffmpeg. It is archived upstream; a replacement needs only this interface. */
export interface FfmpegProcess {
  /** The next bytes of standard output, or undefined at its end. Reading is what lets ffmpeg go on. */
  read(): Promise<Uint8Array | undefined>;
  /** Bytes waiting to be read on our side of the pipe. */
  readonly buffered: number;
  /** Resolves when the process is gone: whether it failed, and the last lines it wrote to standard error. */
  readonly exit: Promise<FfmpegExit>;
  /** Kills it at once and resolves when it is gone. Safe to call twice. */
  kill(): Promise<void>;
  readonly pid: number | undefined;
}

export interface FfmpegExit {
  error: Error | undefined;
  messages: string[];
}

export interface FfmpegStart {
  program: string;
  inputOptions: string[];
  input: string;
  /** What goes to its standard input, when `input` says so. */
  stdin?: Readable | undefined;
  outputOptions: string[];
  /** Seconds without a byte or a sign of life, while we wait for one, before the process counts as stalled. */
  stallSeconds: number;
  /** Hears every line of standard error first; a line it takes is no message. */
  hear?: ((line: string) => boolean) | undefined;
}

const pipeBytes = 2 ** 20;
const keptMessages = 20;
/** `-progress` lines are ffmpeg's sign of life; they are no messages. */
const progressLine =
  /^(frame|fps|stream_\d+_\d+_\w+|bitrate|total_size|out_time(_us|_ms)?|dup_frames|drop_frames|speed|progress)=/;

/** The private parts of a fluent-ffmpeg command that have to be set for it to be dependable. */
interface CommandInternals {
  ffmpegProc?: ChildProcess;
  _getFfmpegPath(done: (error: null, path: string) => void): void;
  _checkCapabilities(done: (error?: Error) => void): void;
  availableEncoders(done: (error: null, encoders: object) => void): void;
  _spawnFfmpeg(args: string[], options: object, started: (...args: unknown[]) => void, ended: SpawnEnded): void;
}
type SpawnEnded = (error: Error | null, out?: LinesRing, err?: LinesRing) => void;
interface LinesRing {
  get(): string;
}

export function startFfmpeg(start: FfmpegStart): FfmpegProcess {
  const { program, inputOptions, input, outputOptions, stdin, stallSeconds, hear = () => false } = start;
  const output = new ByteQueue(pipeBytes);
  const messages: string[] = [];
  let lastSign = Date.now();
  let child: ChildProcess | undefined;
  let killed = false;
  let settled = false;

  const command = ffmpeg({ stdoutLines: keptMessages });
  harden(command as unknown as CommandInternals, program);
  command
    .input(stdin ?? input)
    .inputOptions(...inputOptions)
    .output(output)
    .outputOptions(...outputOptions);

  const exit = new Promise<FfmpegExit>((resolve) => {
    const settle = (error: Error | undefined) => {
      settled = true;
      if (child === undefined) output.end();
      resolve({ error, messages });
    };
    command.on("start", () => {
      child = (command as unknown as CommandInternals).ffmpegProc;
      if (killed && child !== undefined) end(child);
    });
    command.on("stderr", (line: string) => {
      lastSign = Date.now();
      if (line.trim() === "" || progressLine.test(line) || hear(line)) return;
      messages.push(line.slice(0, 500));
      if (messages.length > keptMessages) messages.shift();
    });
    command.on("end", () => settle(undefined));
    command.on("error", (error: Error) => settle(error));
  });
  command.run();

  async function kill(): Promise<void> {
    killed = true;
    output.interrupt();
    stdin?.unpipe();
    if (!settled && child !== undefined) end(child);
    await exit;
    output.discard();
  }

  async function read(): Promise<Uint8Array | undefined> {
    const chunk = killed ? undefined : output.shift();
    return chunk ?? waitForBytes();
  }

  async function waitForBytes(): Promise<Uint8Array | undefined> {
    const waitingSince = Date.now();
    const clock = setInterval(() => output.interrupt(), Math.min(1000, stallSeconds * 250));
    try {
      for (;;) {
        if (killed || output.drained) return undefined;
        const chunk = output.shift();
        if (chunk !== undefined) return chunk;
        if (Date.now() - Math.max(waitingSince, lastSign) >= stallSeconds * 1000) break;
        await output.change();
      }
    } finally {
      clearInterval(clock);
    }
    const tail = messages.length > 0 ? `: ${messages.join("; ")}` : "";
    await kill();
    throw new InputError(`Expected bytes from ffmpeg for ${input} but received none for ${stallSeconds} s${tail}`, {
      code: "MEDIA_STALLED",
      hint: "Check the disk or network share the file is on, or raise limits.stallSeconds.",
    });
  }

  return {
    read,
    get buffered() {
      return output.buffered;
    },
    exit,
    kill,
    get pid() {
      return child?.pid;
    },
  };
}

/** Where the program is a script, its own children outlive it and hold the pipes open: they are not waited for. */
function end(child: ChildProcess): void {
  child.once("exit", () => {
    child.stdout?.destroy();
    child.stderr?.destroy();
  });
  child.kill("SIGKILL");
}

/** fluent-ffmpeg parses `ffmpeg -formats` and `-encoders`, whose print changed since; and it fails to report a failed spawn. */
function harden(command: CommandInternals, program: string): void {
  command._getFfmpegPath = (done) => done(null, program);
  command._checkCapabilities = (done) => done();
  command.availableEncoders = (done) => done(null, {});
  const spawn = command._spawnFfmpeg.bind(command);
  const silent: LinesRing = { get: () => "" };
  command._spawnFfmpeg = (args, options, started, ended) => {
    try {
      spawn(args, options, started, (error, out = silent, err = silent) => ended(error, out, err));
    } catch (error) {
      ended(error as Error, silent, silent);
    }
  };
}

/**
 * A process that could not even start is the machine's fault, not the file's. Exit codes 126 and 127 are the loader's and
 * the shell's, for a missing shared library or a program built for another machine.
 */
export function isSpawnFailure(error: Error): boolean {
  return (
    typeof (error as NodeJS.ErrnoException).syscall === "string" || /exited with code 12[67]\b/.test(error.message)
  );
}

export function spawnFailure(program: string, cause: Error): EnvironmentError {
  return new EnvironmentError(`Expected ${program} to start but received ${cause.message}`, {
    code: "FFMPEG_NOT_RUNNABLE",
    hint: "Run it by hand with -version: a library may be missing, or it is built for another machine.",
    cause,
  });
}
