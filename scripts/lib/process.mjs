import { spawnSync } from "node:child_process";
import { accessSync, closeSync, constants, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { delimiter, join } from "node:path";
import { inRoot, root } from "./paths.mjs";
import { ScriptError, say } from "./report.mjs";

/** The path of a command on PATH, or undefined. */
export function findCommand(name) {
  for (const dir of (process.env.PATH ?? "").split(delimiter)) {
    if (dir === "") continue;
    const file = join(dir, name);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // not here
    }
  }
  return undefined;
}

/**
 * Runs a command to its end and returns its exit status. Its output goes to stderr, or with `log` to build/logs/<log>.log,
 * of which the end is shown only when the command fails.
 */
export function run(command, args, { cwd = root, env, log } = {}) {
  let target = 2;
  let logFile;
  if (log) {
    mkdirSync(inRoot("build/logs"), { recursive: true });
    logFile = inRoot("build/logs", `${log}.log`);
    target = openSync(logFile, "w");
  }
  const result = spawnSync(command, args, {
    cwd,
    env: env ? { ...process.env, ...env } : process.env,
    stdio: ["ignore", target, target],
  });
  if (log) closeSync(target);
  if (result.signal) process.exit(128 + (osConstants.signals[result.signal] ?? 0));
  const status = result.error ? 127 : (result.status ?? 1);
  if (status !== 0 && log) {
    say(readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-60).join("\n"));
    say(`(all of it: ${logFile})`);
  }
  if (result.error) say(`${command}: ${result.error.message}`);
  return status;
}

/** Like `run`, but a status other than 0 is an error that says what was being done. */
export function mustRun(what, command, args, { hint, exitCode, ...options } = {}) {
  const status = run(command, args, options);
  if (status !== 0) {
    throw new ScriptError(`${what} failed: ${[command, ...args].join(" ")} ended with status ${status}`, {
      hint,
      exitCode,
    });
  }
}

/** The trimmed stdout of a command, or undefined when it fails. */
export function output(command, args, { cwd = root } = {}) {
  const result = spawnSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return result.status === 0 ? result.stdout.trim() : undefined;
}
