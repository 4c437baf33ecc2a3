import { readFileSync } from "node:fs";
import { help } from "./arguments.js";
import { exitCode, formatFault, toFault, UsageFault } from "./fault.js";
import { commandHelp, overview } from "./help.js";

/** What a command gets besides its arguments. */
export interface Context {
  /** Fires at the first SIGINT or SIGTERM. */
  signal: AbortSignal;
  /** Writes data to standard output. */
  print(text: string): void;
}

/** Runs a command and returns its exit code. */
export type Command = (argv: readonly string[], context: Context) => Promise<number>;

const commands: Readonly<Record<string, () => Promise<Command>>> = {
  encode: async () => (await import("./commands/encode.js")).encode,
  estimate: async () => (await import("./commands/estimate.js")).estimate,
  tokenize: async () => (await import("./commands/tokenize.js")).tokenize,
  probe: async () => (await import("./commands/probe.js")).probe,
  generate: async () => (await import("./commands/generate.js")).generate,
  parity: async () => (await import("./commands/parity.js")).parity,
  inspect: async () => (await import("./commands/inspect.js")).inspect,
  download: async () => (await import("./commands/download.js")).download,
  doctor: async () => (await import("./commands/doctor.js")).doctor,
};

/** Commands of later versions: they are known by name, so that the answer can be clear. */
const later = new Set(["train", "bench"]);

/** Runs a command line; the exit code goes to `process.exitCode`. Data on standard output, everything else on standard error. */
export async function main(argv: readonly string[]): Promise<void> {
  survivePipes();
  const interruption = watchSignals();
  try {
    process.exitCode = await dispatch(argv, {
      signal: interruption.signal,
      print: (text) => void process.stdout.write(text),
    });
  } catch (error) {
    process.exitCode = report(error, argv, interruption.code());
  } finally {
    interruption.release();
    // A command that read its input only in part would otherwise wait for the rest of it.
    if (argv.includes("-")) process.stdin.destroy();
  }
}

async function dispatch(argv: readonly string[], context: Context): Promise<number> {
  const [first, ...rest] = argv;
  if (first === "--version" || first === "-v") {
    context.print(`${version()}\n`);
    return 0;
  }
  if (first === undefined) {
    throw new UsageFault("Expected a command for krait but received none", "COMMAND_MISSING", help(""));
  }
  if (first === "help" || first === "--help" || first === "-h") {
    const topic = rest.find((word) => !word.startsWith("-"));
    if (topic !== undefined && !Object.hasOwn(commandHelp, topic)) throw unknownCommand(topic);
    context.print(topic === undefined ? overview : commandHelp[topic]!);
    return 0;
  }
  if (!Object.hasOwn(commands, first)) throw unknownCommand(first);
  const end = rest.indexOf("--");
  const flags = end < 0 ? rest : rest.slice(0, end);
  if (flags.includes("--help") || flags.includes("-h")) {
    context.print(commandHelp[first]!);
    return 0;
  }
  const command = await commands[first]!();
  return command(rest, context);
}

function unknownCommand(name: string): UsageFault {
  if (later.has(name)) {
    return new UsageFault(
      `Expected a command of this version for krait but received ${JSON.stringify(name)}, which is not part of it yet`,
      "COMMAND_NOT_AVAILABLE",
      `This version has ${Object.keys(commands).join(", ")}.`,
    );
  }
  const kind = name.startsWith("-") ? "a command before the options" : "a command";
  return new UsageFault(`Expected ${kind} for krait but received ${JSON.stringify(name)}`, "UNKNOWN_COMMAND", help(""));
}

/** Prints an error and returns the exit code it means. */
function report(error: unknown, argv: readonly string[], interrupted: number | undefined): number {
  const json = argv.includes("--json");
  const said = toFault(error);
  // A run that leaves something to go on with says so itself.
  const fault =
    interrupted === undefined || said.code === "ABORTED_KEPT"
      ? said
      : { kind: "aborted", code: "ABORTED", message: "interrupted; no output was written", hint: undefined };
  process.stderr.write(`${formatFault(fault, { json })}\n`);
  if (process.env.KRAIT_DEBUG === "1") process.stderr.write(`${stacks(error)}\n`);
  return interrupted ?? exitCode(fault);
}

function stacks(error: unknown): string {
  const lines: string[] = [];
  for (let at: unknown = error, depth = 0; at !== undefined && depth < 5; depth++) {
    lines.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
    at = at instanceof Error ? at.cause : undefined;
  }
  return lines.join("\ncaused by ");
}

function version(): string {
  return JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version;
}

/** `krait … | head` closes our output early; that is no error. A disk that is full behind `>` is one. */
function survivePipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") return;
      process.exitCode = 4;
    });
  }
}

/** The first signal aborts the work, which cleans up; the second kills at once, as if nobody listened. */
function watchSignals() {
  const controller = new AbortController();
  const numbers = { SIGINT: 2, SIGTERM: 15 } as const;
  let code: number | undefined;
  const onSignal = (name: "SIGINT" | "SIGTERM") => {
    code = 128 + numbers[name];
    release();
    controller.abort(new Error(name));
  };
  const release = () => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, onSignal);
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, onSignal);
  return { signal: controller.signal, code: () => code, release };
}
