/** What the scripts say goes to stderr: stdout belongs to the command that runs after them. */
export function say(text) {
  process.stderr.write(`${text}\n`);
}

/** An expected failure: its text is for the user, no stack is printed. Exit codes as the command's: 1 failed, 4 environment. */
export class ScriptError extends Error {
  constructor(message, { hint, exitCode = 1 } = {}) {
    super(message);
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

/** Runs a script's main function and turns what it throws into a message and an exit code. */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    say(`error: ${error.message}`);
    if (error.hint) say(error.hint);
    process.exitCode = error.exitCode;
  }
}

/** Options are flags and --name=value only; anything else is a usage error. */
export function parseFlags(args, known) {
  const flags = {};
  for (const arg of args) {
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/.exec(arg) ?? [];
    const kind = known[name];
    if (!kind || (kind === "value") !== (value !== undefined && value !== "")) {
      const usage = Object.entries(known).map(([flag, k]) => (k === "value" ? `--${flag}=…` : `--${flag}`));
      throw new ScriptError(`Expected one of ${usage.join(" ")} but received ${arg}`, { exitCode: 2 });
    }
    flags[name] = kind === "value" ? value : true;
  }
  return flags;
}
