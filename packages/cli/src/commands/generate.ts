import { readFile } from "node:fs/promises";
import type { GenerateOptions, LanguageModel } from "krait";
import { type Arguments, choiceOption, help, numberOption, parseArguments } from "../arguments.js";
import { UsageFault } from "../fault.js";
import type { Command, Context } from "../main.js";
import { loadSdk } from "../sdk.js";

const specs = {
  prompt: { value: true, multiple: true },
  file: { value: true, multiple: true },
  "max-tokens": { value: true },
  temperature: { value: true },
  "top-k": { value: true },
  "top-p": { value: true },
  "min-p": { value: true },
  "repetition-penalty": { value: true },
  stop: { value: true, multiple: true },
  seed: { value: true },
  tokenizer: { value: true },
  context: { value: true },
  device: { value: true },
  threads: { value: true },
  dtype: { value: true },
  json: {},
} as const;

/** `krait generate`: texts continued by a published language model, written as they come. */
export const generate: Command = async (argv, context) => {
  const parsed = parseArguments("generate", argv, specs);
  const [folder] = parsed.operands;
  if (folder === undefined || parsed.operands.length > 1) {
    throw new UsageFault(
      `Expected one model folder for krait generate but received ${parsed.operands.length || "none"}`,
      "OPERANDS",
      help("generate"),
    );
  }
  const options = generation(parsed);
  const load = loading(parsed);
  const prompts = await readPrompts(parsed);
  const model = await (await loadSdk()).loadLanguageModel(folder, { ...load, signal: context.signal });
  try {
    if (parsed.options.has("json")) await writeJson(model, prompts, options, context);
    else await writeText(model, prompts, options, context);
    return 0;
  } finally {
    await model.close();
  }
};

function generation(parsed: Arguments): GenerateOptions {
  const numbers = {
    maxTokens: numberOption(parsed, "max-tokens", { min: 1, integer: true }),
    temperature: numberOption(parsed, "temperature", { min: 0, max: 100 }),
    topK: numberOption(parsed, "top-k", { min: 0, integer: true }),
    topP: numberOption(parsed, "top-p", { above: 0, max: 1 }),
    minP: numberOption(parsed, "min-p", { min: 0, max: 1 }),
    repetitionPenalty: numberOption(parsed, "repetition-penalty", { above: 0, max: 100 }),
    seed: numberOption(parsed, "seed", { min: 0, integer: true }),
  };
  const given = Object.fromEntries(Object.entries(numbers).filter(([, value]) => value !== undefined));
  return { ...given, stop: valuesOf(parsed, "stop") };
}

function loading(parsed: Arguments) {
  const contextTokens = numberOption(parsed, "context", { min: 1, max: 2 ** 20, integer: true });
  const device = choiceOption(parsed, "device", ["auto", "cpu", "cuda"]);
  const threads = numberOption(parsed, "threads", { min: 1, max: 1024, integer: true });
  const dtype = choiceOption(parsed, "dtype", ["f32", "bf16"]);
  const tokenizer = parsed.options.get("tokenizer");
  return {
    ...(contextTokens !== undefined && { contextTokens }),
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
    ...(dtype !== undefined && { dtype }),
    ...(tokenizer !== undefined && { tokenizer }),
  };
}

const valuesOf = ({ ordered }: Arguments, name: string): string[] =>
  ordered.flatMap((entry) => ("option" in entry && entry.option === name ? [entry.value ?? ""] : []));

/** --prompt and --file in the order given. */
async function readPrompts(parsed: Arguments): Promise<string[]> {
  const prompts: string[] = [];
  for (const entry of parsed.ordered) {
    if (!("option" in entry)) continue;
    if (entry.option === "prompt") prompts.push(entry.value ?? "");
    if (entry.option === "file") prompts.push(await readPrompt(entry.value ?? ""));
  }
  if (prompts.length > 0) return prompts;
  throw new UsageFault(
    "Expected --prompt or --file for krait generate but received neither",
    "PROMPT_MISSING",
    help("generate"),
  );
}

const MAX_PROMPT_BYTES = 2 ** 26;

async function readPrompt(file: string): Promise<string> {
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw new UsageFault(
      `Expected a readable file for --file but received ${file} (${cause.code})`,
      "FILE_NOT_FOUND",
      help("generate"),
    );
  });
  if (bytes.length > MAX_PROMPT_BYTES)
    throw new UsageFault(
      `Expected at most ${MAX_PROMPT_BYTES} bytes for --file but received ${bytes.length}`,
      "TEXT_TOO_LONG",
      help("generate"),
    );
  return bytes.toString("utf8");
}

/** One prompt streams; several are written one after the other when they are done, each after its number. */
async function writeText(
  model: LanguageModel,
  prompts: string[],
  options: GenerateOptions,
  { print, signal }: Context,
) {
  const texts = prompts.map(() => "");
  for await (const { sequence, text } of model.generate(prompts, { ...options, signal })) {
    if (prompts.length === 1) print(text);
    else texts[sequence] += text;
  }
  if (prompts.length === 1) print("\n");
  else for (const [i, text] of texts.entries()) print(`[${i}] ${text}\n`);
}

/** One object per line and prompt, when all are done. */
async function writeJson(
  model: LanguageModel,
  prompts: string[],
  options: GenerateOptions,
  { print, signal }: Context,
) {
  const results = prompts.map((prompt) => ({
    prompt,
    text: "",
    tokens: [] as number[],
    finish: undefined as string | undefined,
  }));
  for await (const { sequence, text, token, finish } of model.generate(prompts, { ...options, signal })) {
    const result = results[sequence]!;
    result.text += text;
    if (token !== undefined) result.tokens.push(token);
    result.finish ??= finish;
  }
  for (const result of results) print(`${JSON.stringify(result)}\n`);
}
