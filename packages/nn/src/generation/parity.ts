import { expected, InputError, throwIfAborted } from "@krait/core";
import { openSafetensors, type SafetensorsFile } from "@krait/formats";
import type { Device } from "@krait/runtime";
import { type Choices, countFlips, type Flips, joinChoices, type RoutedLayer, sliceChoices } from "../routing.js";
import { type CausalModel, routedLayers } from "./causal-model.js";
import { holdsLayer, readLayer } from "./golden-layer.js";
import { compareLayer } from "./layer-parity.js";
import { describeFolder, loadCausalModel } from "./load-model.js";
import { RelativeError } from "./relative-error.js";
import { largest } from "./sampling.js";

/** Bytes of logits in one run. */
const LOGITS_BYTES = 2 ** 26;
const MAX_RUN_TOKENS = 2048;

export interface ParityOptions {
  /** Largest relative RMS error of the logits of a case; 1e-4 when absent, and for a layer what its reference's precision allows. */
  bound?: number;
  /** Options of a single layer that the shapes of its tensors do not tell: `groups` of Mamba-2, `aActivation` of Mamba-3. */
  layer?: Readonly<Record<string, unknown>>;
  /** `bf16` rounds the weights; on a CPU the products stay in f32. */
  dtype?: "f32" | "bf16";
  signal?: AbortSignal | undefined;
}

export interface ParityCase {
  /** `L37` of `L37.input_ids`. */
  name: string;
  sequences: number;
  tokens: number;
  /** With the choices of experts replayed where there are any to replay. */
  relRms: number;
  ok: boolean;
  /** Where choices were replayed, the error without. */
  relRmsFree?: number;
  /** Of tokens × layers with experts, the share that goes to other experts when nothing is replayed. */
  flippedShare?: number;
}

export interface ParityReport {
  /** Of a single layer its kind. */
  family: string;
  dtype: "f32" | "bf16";
  bound: number;
  cases: ParityCase[];
  /** The greedy continuation; absent when the file holds none. */
  greedy?: { expected: number[]; received: number[] };
  /** With the choices of experts replayed where there are any to replay. */
  maxRelRms: number;
  /** Where choices were replayed, the largest error without. */
  maxRelRmsFree?: number;
  /** Of tokens × layers with experts over all cases, the share that goes to other experts when nothing is replayed. */
  flippedShare?: number;
  /** True as well when there is no continuation to compare. */
  greedyEqual: boolean;
  ok: boolean;
}

interface GoldenCase {
  name: string;
  shape: [number, number];
  ids: number[];
  logits: Float32Array;
}

interface Golden {
  cases: GoldenCase[];
  greedy?: { prompt: number[]; tokens: number[] };
}

/**
 * Holds a published model to the outputs of its reference: every `L{n}.input_ids` [batch, n] of a safetensors file against
 * `L{n}.logits` [batch, n, vocabulary], and `greedy.prompt` against `greedy.tokens`, stepped with carried state. A file with tensors
 * `param.*` holds one layer: then every `L{n}.x` [batch, n, width] against `L{n}.y`, and no folder is looked at.
 *
 * In bf16 a model with experts runs twice over each case: freely, and with every token sent to the experts that the same model chooses in f32.
 * A choice is discrete, and one that is nearly a tie may fall either way: the bound holds for the replay, the share of flips is told.
 *
 * @throws what `loadCausalModel` and `readLayer` throw; InputError (GOLDEN_INVALID)
 */
export async function checkParity(
  device: Device,
  folder: string,
  goldenPath: string,
  options: ParityOptions = {},
): Promise<ParityReport> {
  const file = await openSafetensors(goldenPath);
  try {
    if (!holdsLayer(file)) return await checkModel(device, folder, file, options);
    const report = await compareLayer(device, file, readLayer(file, options.layer), options);
    return { ...report, greedyEqual: true };
  } finally {
    await file.close();
  }
}

async function checkModel(
  device: Device,
  folder: string,
  file: SafetensorsFile,
  { bound = 1e-4, dtype = "f32", signal }: ParityOptions,
): Promise<ParityReport> {
  const golden = await readGolden(file);
  const longest = Math.max(
    1,
    ...golden.cases.map((c) => c.shape[1]),
    golden.greedy ? golden.greedy.prompt.length + golden.greedy.tokens.length : 0,
  );
  const total = Math.max(1, golden.greedy?.prompt.length ?? 0, ...golden.cases.map((c) => c.ids.length));
  const vocabulary = golden.cases[0] ? golden.cases[0].logits.length / golden.cases[0].ids.length : 1;
  const rows = Math.max(1, Math.floor(LOGITS_BYTES / 4 / vocabulary));
  const maxTokens = Math.min(total, MAX_RUN_TOKENS, rows);
  const load = (dtype: "f32" | "bf16", routing: boolean) => {
    const emulated = dtype === "bf16" && device.kind === "cpu";
    return loadCausalModel(device, folder, {
      contextTokens: longest,
      maxTokens,
      maxLogits: maxTokens,
      maxSequences: Math.max(1, ...golden.cases.map((c) => c.shape[0])),
      slots: 1,
      dtype: emulated ? "f32" : dtype,
      roundWeights: emulated ? "bf16" : undefined,
      routing,
      signal,
    });
  };
  const routed = dtype === "bf16" ? routedLayers(await describeFolder(folder, longest)) : [];
  // One model after the other: both at once may be too large.
  const choices: Choices[][] = [];
  if (routed.length > 0) {
    const model = await load("f32", true);
    try {
      for (const c of golden.cases) choices.push((await runCase(model, c, routed, { signal })).choices);
    } finally {
      model.close();
    }
  }
  const model = await load(dtype, routed.length > 0);
  try {
    const cases: ParityCase[] = [];
    const flips = { of: 0, flipped: 0 };
    for (const [i, c] of golden.cases.entries()) {
      throwIfAborted(signal, "the comparison");
      const wanted = c.ids.length * model.description.vocabularySize;
      if (c.logits.length !== wanted) {
        throw invalid(
          `${file.path}, tensor ${c.name}.logits`,
          `${wanted} elements, as the model's vocabulary asks`,
          c.logits.length,
        );
      }
      const free = await runCase(model, c, routed, { signal });
      const given = choices[i];
      const replayed = given && (await runCase(model, c, routed, { given, signal }));
      const { relRms } = replayed ?? free;
      const turned = given && flipsOf(given, free.choices, routed);
      flips.of += turned?.of ?? 0;
      flips.flipped += turned?.flipped ?? 0;
      const [sequences, tokens] = c.shape;
      cases.push({
        name: c.name,
        sequences,
        tokens,
        relRms,
        ok: relRms <= bound,
        ...(turned && { relRmsFree: free.relRms, flippedShare: turned.flipped / turned.of }),
      });
    }
    const greedy = golden.greedy && {
      expected: golden.greedy.tokens,
      received: await continueGreedily(model, golden.greedy.prompt, golden.greedy.tokens.length, signal),
    };
    const greedyEqual = !greedy || greedy.expected.every((id, i) => id === greedy.received[i]);
    const maxRelRms = Math.max(0, ...cases.map((c) => c.relRms));
    return {
      family: model.description.family,
      dtype,
      bound,
      cases,
      ...(greedy && { greedy }),
      maxRelRms,
      ...(flips.of > 0 && {
        maxRelRmsFree: Math.max(...cases.map((c) => c.relRmsFree!)),
        flippedShare: flips.flipped / flips.of,
      }),
      greedyEqual,
      // Rounded weights may well turn a close choice: that is told, not held against them.
      ok: (greedyEqual || dtype === "bf16") && cases.every((c) => c.ok),
    };
  } finally {
    model.close();
  }
}

interface CaseRun {
  relRms: number;
  /** Per sequence. */
  choices: Choices[];
}

/** All sequences packed into one run where they fit, else one after the other in chunks with carried state. */
async function runCase(
  model: CausalModel,
  { shape: [sequences, tokens], ids, logits: want }: GoldenCase,
  routed: readonly RoutedLayer[],
  { given, signal }: { given?: readonly Choices[]; signal: AbortSignal | undefined },
): Promise<CaseRun> {
  const error = new RelativeError();
  const choices: Choices[] = [];
  const row = (s: number) => ids.slice(s * tokens, (s + 1) * tokens);
  let at = 0;
  if (ids.length <= model.maxTokens) {
    const inputs = Array.from({ length: sequences }, (_, s) => ({
      ids: row(s),
      logits: "all" as const,
      choices: given?.[s],
    }));
    for (const part of await model.runRouted(inputs, signal)) {
      at = error.add(part.logits, want, at);
      choices.push(part.choices);
    }
    return { relRms: error.value, choices };
  }
  for (let s = 0; s < sequences; s++) {
    const session = await model.open();
    const parts: Choices[] = [];
    try {
      for (let from = 0; from < tokens; from += model.maxTokens) {
        const to = from + model.maxTokens;
        const part = given && sliceChoices(given[s]!, routed, from, to);
        const input = { ids: row(s).slice(from, to), session, logits: "all" as const, choices: part };
        const [run] = await model.runRouted([input], signal);
        at = error.add(run!.logits, want, at);
        parts.push(run!.choices);
      }
    } finally {
      session.close();
    }
    choices.push(joinChoices(parts, routed));
  }
  return { relRms: error.value, choices };
}

function flipsOf(a: readonly Choices[], b: readonly Choices[], routed: readonly RoutedLayer[]): Flips {
  const each = a.map((choices, s) => countFlips(choices, b[s]!, routed));
  return each.reduce((sum, f) => ({ of: sum.of + f.of, flipped: sum.flipped + f.flipped }), { of: 0, flipped: 0 });
}

/** Prefill, then one token at a time with carried state. */
async function continueGreedily(
  model: CausalModel,
  prompt: readonly number[],
  count: number,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const session = await model.open();
  try {
    const received: number[] = [];
    let logits = await model.prefill(prompt, session, { signal });
    for (;;) {
      received.push(largest(logits));
      if (received.length >= count) return received;
      [logits] = (await model.run([{ ids: received.slice(-1), session }], signal)) as [Float32Array<ArrayBuffer>];
    }
  } finally {
    session.close();
  }
}

async function readGolden(file: SafetensorsFile): Promise<Golden> {
  const { path } = file;
  const golden: Golden = { cases: [] };
  const names = [...file.tensors.keys()].filter((n) => /^L\d+\.input_ids$/.test(n));
  names.sort((a, b) => Number(a.slice(1).split(".")[0]) - Number(b.slice(1).split(".")[0]));
  for (const key of names) {
    const name = key.split(".")[0]!;
    const shape = file.tensors.get(key)!.shape;
    if (shape.length !== 2 || shape.includes(0))
      throw invalid(`${path}, tensor ${key}`, "shape [batch, tokens]", shape);
    const ids = await integers(file, key);
    if (!file.tensors.has(`${name}.logits`)) throw invalid(path, `tensor ${name}.logits`, undefined);
    golden.cases.push({
      name,
      shape: shape as [number, number],
      ids,
      logits: await file.readFloat32(`${name}.logits`),
    });
  }
  if (file.tensors.has("greedy.prompt") && file.tensors.has("greedy.tokens")) {
    golden.greedy = { prompt: await integers(file, "greedy.prompt"), tokens: await integers(file, "greedy.tokens") };
  }
  if (golden.cases.length === 0 && !golden.greedy)
    throw invalid(path, "tensors L{n}.input_ids and L{n}.logits, or greedy.prompt and greedy.tokens", [
      ...file.tensors.keys(),
    ]);
  return golden;
}

async function integers(file: SafetensorsFile, name: string): Promise<number[]> {
  const { dtype } = file.tensors.get(name)!;
  if (dtype !== "i64" && dtype !== "i32") throw invalid(`${file.path}, tensor ${name}`, "I64 or I32", dtype);
  return Array.from((await file.read(name)) as BigInt64Array | Int32Array, Number);
}

function invalid(name: string, what: string, received: unknown): InputError {
  return new InputError(expected(what, name, received), {
    code: "GOLDEN_INVALID",
    hint: "The file holds L{n}.input_ids, L{n}.logits, greedy.prompt and greedy.tokens of a reference implementation.",
  });
}
