import { basename } from "node:path";
import type { TokenizeFileOptions, TokenizeFileResult } from "krait";
import {
  choiceOption,
  economyOption,
  exclusive,
  help,
  numberOption,
  parseArguments,
  timeOption,
} from "../arguments.js";
import { oneLine, UsageFault } from "../fault.js";
import { count, duration, ratio } from "../format.js";
import type { Command } from "../main.js";
import { checkOutputs } from "../outputs.js";
import { startProgress } from "../progress.js";
import { loadSdk, type Sdk } from "../sdk.js";

const specs = {
  list: {},
  preset: { value: true },
  out: { value: true },
  normalization: { value: true },
  size: { value: true },
  processor: { value: true },
  tokenizer: { value: true },
  fps: { value: true },
  frames: { value: true },
  economy: { value: true },
  budget: { value: true },
  stream: { value: true },
  start: { value: true },
  end: { value: true },
  json: {},
  quiet: {},
};

/** A command line of `krait tokenize`, checked; undefined for `--list`. Throws `UsageFault`. */
export function parseTokenize(argv: readonly string[]) {
  const args = parseArguments("tokenize", argv, specs);
  const { options, operands } = args;
  const json = options.has("json");
  if (options.has("list")) {
    if (operands.length > 0) throw fault(`no file with --list but received ${JSON.stringify(operands[0])}`, "OPERANDS");
    return { json, job: undefined };
  }
  const [file] = operands;
  if (file === undefined || operands.length > 1) {
    throw fault(
      `one file for krait tokenize but received ${operands.length === 0 ? "none" : operands.length}`,
      "OPERANDS",
    );
  }
  const preset = options.get("preset");
  if (!preset) throw fault("--preset NAME but received none", "PRESET_MISSING", "`krait tokenize --list` names them.");
  const out = options.get("out");
  if (!out) throw fault("--out F.safetensors but received none", "OUT_MISSING");
  exclusive(args, "fps", "frames");
  exclusive(args, "size", "processor");
  const given: Omit<TokenizeFileOptions, "signal" | "onProgress" | "limits"> = {
    preset,
    out,
    normalization: choiceOption(args, "normalization", ["exact", "fixed", "running"]),
    size: numberOption(args, "size", { min: 1, max: 8192, integer: true }),
    fps: numberOption(args, "fps", { above: 0, max: 1000 }),
    count: numberOption(args, "frames", { min: 1, integer: true }),
    economy: economyOption(args),
    stream: numberOption(args, "stream", { min: 0, integer: true }),
    start: timeOption(args, "start"),
    end: timeOption(args, "end"),
    processor: options.get("processor"),
    tokenizer: options.get("tokenizer"),
  };
  return { json, job: { file, out, quiet: options.has("quiet"), given } };
}

/** `krait tokenize`: what one front end makes of a file. */
export const tokenize: Command = async (argv, { signal, print }) => {
  const { json, job } = parseTokenize(argv);
  if (job === undefined) {
    print(list(await loadSdk(), json));
    return 0;
  }
  const first = `00:00:00 / --:--:--  reading ${oneLine(basename(job.file))}`;
  const progress = startProgress(first, { quiet: job.quiet, out: process.stderr });
  try {
    await checkOutputs({ inputs: [{ file: job.file }], out: job.out, page: undefined });
    const sdk = await loadSdk();
    const result = await sdk.tokenizeFile(job.file, { ...job.given, signal, onProgress: progress.update });
    progress.close();
    print(json ? `${JSON.stringify(result)}\n` : summary(result));
    return 0;
  } finally {
    progress.close();
  }
};

function list({ frontEnds }: Sdk, json: boolean): string {
  if (json) return `${JSON.stringify(frontEnds)}\n`;
  const width = Math.max(...frontEnds.map(({ name }) => name.length));
  return frontEnds
    .map(({ name, modality, about }) => `${name.padEnd(width)}  ${modality.padEnd(5)}  ${about}\n`)
    .join("");
}

function summary({ out, preset, tokens, dim, mediaSeconds, elapsedSeconds }: TokenizeFileResult): string {
  const speed = mediaSeconds > 0 && elapsedSeconds > 0 ? ` (${ratio(mediaSeconds / elapsedSeconds)}x realtime)` : "";
  const time =
    mediaSeconds > 0 ? `${duration(mediaSeconds)} of media in ${duration(elapsedSeconds)}` : duration(elapsedSeconds);
  const rows = dim === 1 ? `${count(tokens)} ids` : `${count(tokens)} of ${count(dim)} numbers`;
  return [`features  ${out}`, `tokens    ${rows} by ${preset}`, `time      ${time}${speed}`, ""].join("\n");
}

function fault(text: string, code: string, hint = help("tokenize")): UsageFault {
  return new UsageFault(`Expected ${text}`, code, hint);
}
