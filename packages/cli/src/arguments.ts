import { type ParseArgsConfig, parseArgs } from "node:util";
import { UsageFault } from "./fault.js";

export interface OptionSpec {
  /** A value must follow; otherwise the option is a flag. */
  value?: boolean;
  /** May be given more than once. */
  multiple?: boolean;
}

/** Options and operands in the order they were written. */
export type Argument = { option: string; value: string | undefined } | { operand: string };

export interface Arguments {
  /** The last value of every option that was given; "" for flags. */
  options: ReadonlyMap<string, string>;
  ordered: readonly Argument[];
  operands: readonly string[];
}

/** Splits a command line by the options a command has. Throws `UsageFault`. */
export function parseArguments(
  command: string,
  argv: readonly string[],
  specs: Readonly<Record<string, OptionSpec>>,
): Arguments {
  const config = {
    args: [...argv],
    strict: true,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      Object.entries({ ...specs, help: {} }).map(([name, spec]: [string, OptionSpec]) => [
        name,
        { type: spec.value ? "string" : "boolean", ...(name === "help" && { short: "h" }) },
      ]),
    ),
  } satisfies ParseArgsConfig;
  let tokens: ReturnType<typeof parseArgs<typeof config>>["tokens"];
  try {
    ({ tokens } = parseArgs(config));
  } catch (error) {
    throw badArguments(error as NodeJS.ErrnoException, command);
  }
  const options = new Map<string, string>();
  const ordered: Argument[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") ordered.push({ operand: token.value });
    if (token.kind !== "option") continue;
    if (options.has(token.name) && !specs[token.name]?.multiple) {
      throw new UsageFault(`Expected --${token.name} once but received it again`, "OPTION_REPEATED", help(command));
    }
    options.set(token.name, token.value ?? "");
    ordered.push({ option: token.name, value: token.value });
  }
  return { options, ordered, operands: ordered.flatMap((entry) => ("operand" in entry ? [entry.operand] : [])) };
}

function badArguments(error: NodeJS.ErrnoException, command: string): Error {
  const name = /['"]?(-{1,2}[^\s'",<]+)/.exec(error.message)?.[1];
  if (error.code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    return new UsageFault(`Expected a known option but received ${name ?? "another"}`, "UNKNOWN_OPTION", help(command));
  }
  if (error.code === "ERR_PARSE_ARGS_INVALID_OPTION_VALUE") {
    const ambiguous = /ambiguous/.test(error.message);
    const message = error.message.split("\n")[0]!.replace(/\.$/, "");
    return new UsageFault(
      ambiguous
        ? `Expected a value for ${name} but received what looks like an option`
        : `Expected another use of ${name ?? "the options"}: ${message}`,
      "INVALID_OPTION",
      ambiguous ? `A value that begins with a dash is written ${name}=VALUE.` : help(command),
    );
  }
  return error;
}

export function help(command: string): string {
  return `See \`krait help${command ? ` ${command}` : ""}\`.`;
}

/** A number in a range, or undefined when the option was not given. */
export function numberOption(
  { options }: Arguments,
  name: string,
  { min, max, integer, above }: { min?: number; max?: number; integer?: boolean; above?: number },
): number | undefined {
  const given = options.get(name);
  if (given === undefined) return undefined;
  const value =
    given.trim() === "" || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(given.trim()) ? Number.NaN : Number(given);
  const inRange =
    Number.isFinite(value) &&
    (!integer || Number.isSafeInteger(value)) &&
    (min === undefined || value >= min) &&
    (above === undefined || value > above) &&
    (max === undefined || value <= max);
  if (inRange) return value;
  const range = [
    min !== undefined && `from ${min}`,
    above !== undefined && `above ${above}`,
    max !== undefined && `up to ${max}`,
  ].filter(Boolean);
  throw invalid(name, [integer ? "a whole number" : "a number", ...range].join(" "), given);
}

/** A time: seconds (`90`, `90.5`) or a clock (`1:30`, `01:02:03.5`); undefined for anything else. */
export function parseTime(given: string): number | undefined {
  const parts = /^(?:(?:(\d+):)?([0-5]?\d):)?([0-5]?\d(?:\.\d+)?)$/.exec(given);
  if (parts) return Number(parts[1] ?? 0) * 3600 + Number(parts[2] ?? 0) * 60 + Number(parts[3]);
  return /^\d+(\.\d+)?$/.test(given) ? Number(given) : undefined;
}

export function timeOption({ options }: Arguments, name: string): number | undefined {
  const given = options.get(name);
  if (given === undefined) return undefined;
  const time = parseTime(given);
  if (time !== undefined) return time;
  throw invalid(name, "seconds or HH:MM:SS", given);
}

export function choiceOption<C extends string>(
  { options }: Arguments,
  name: string,
  choices: readonly C[],
): C | undefined {
  const given = options.get(name);
  if (given === undefined) return undefined;
  const found = choices.find((choice) => choice === given);
  if (found !== undefined) return found;
  throw invalid(name, `one of ${choices.join(", ")}`, given);
}

/** Which near-duplicate frames are left out. */
export interface FrameEconomy {
  mode?: "drop" | "merge";
  budget?: number;
}

/** `--economy` and `--budget`, or undefined when neither was given. */
export function economyOption(args: Arguments): FrameEconomy | undefined {
  const mode = choiceOption(args, "economy", ["drop", "merge"]);
  const budget = numberOption(args, "budget", { above: 0, max: 1000 });
  if (mode === undefined && budget === undefined) return undefined;
  return { ...(mode !== undefined && { mode }), ...(budget !== undefined && { budget }) };
}

/** At most one of these options may be given. */
export function exclusive({ options }: Arguments, ...names: string[]): void {
  const given = names.filter((name) => options.has(name));
  if (given.length < 2) return;
  const list = given.map((name) => `--${name}`);
  throw new UsageFault(
    `Expected one of ${list.join(" and ")} but received both`,
    "OPTIONS_EXCLUDE",
    `Leave ${list[0]} or ${list[1]} out.`,
  );
}

export function invalid(name: string, what: string, received: string): UsageFault {
  return new UsageFault(
    `Expected ${what} for --${name} but received ${JSON.stringify(received)}`,
    "INVALID_OPTION",
    help("encode"),
  );
}
