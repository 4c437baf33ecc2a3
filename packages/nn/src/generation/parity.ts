import { expected, InputError, throwIfAborted } from "@krait/core";
import { openSafetensors, type SafetensorsFile } from "@krait/formats";
import type { Device } from "@krait/runtime";
import type { CausalModel } from "./causal-model.js";
import { holdsLayer, readLayer } from "./golden-layer.js";
import { compareLayer } from "./layer-parity.js";
import { loadCausalModel } from "./load-model.js";
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
  relRms: number;
  ok: boolean;
}

export interface ParityReport {
  /** Of a single layer its kind. */
  family: string;
  dtype: "f32" | "bf16";
  bound: number;
  cases: ParityCase[];
  /** The greedy continuation; absent when the file holds none. */
  greedy?: { expected: number[]; received: number[] };
  maxRelRms: number;
  /** True as well when there is no continuation to compare. */
  greedyEqual: boolean;
  ok: boolean;
}

interface Golden {
  cases: { name: string; shape: [number, number]; ids: number[]; logits: Float32Array }[];
  greedy?: { prompt: number[]; tokens: number[] };
}

/**
 * Holds a published model to the outputs of its reference: every `L{n}.input_ids` [batch, n] of a safetensors file against
 * `L{n}.logits` [batch, n, vocabulary], and `greedy.prompt` against `greedy.tokens`, stepped with carried state. A file with tensors
 * `param.*` holds one layer: then every `L{n}.x` [batch, n, width] against `L{n}.y`, and no folder is looked at.
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
  const emulated = dtype === "bf16" && device.kind === "cpu";
  const model = await loadCausalModel(device, folder, {
    contextTokens: longest,
    maxTokens,
    maxLogits: maxTokens,
    maxSequences: Math.max(1, ...golden.cases.map((c) => c.shape[0])),
    slots: 1,
    dtype: emulated ? "f32" : dtype,
    roundWeights: emulated ? "bf16" : undefined,
    signal,
  });
  try {
    const cases: ParityCase[] = [];
    for (const { name, shape, ids, logits } of golden.cases) {
      throwIfAborted(signal, "the comparison");
      const [sequences, tokens] = shape;
      const wanted = ids.length * model.description.vocabularySize;
      if (logits.length !== wanted) {
        throw invalid(
          `${file.path}, tensor ${name}.logits`,
          `${wanted} elements, as the model's vocabulary asks`,
          logits.length,
        );
      }
      const relRms = await compare(model, sequences, tokens, ids, logits, signal);
      cases.push({ name, sequences, tokens, relRms, ok: relRms <= bound });
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
      greedyEqual,
      // Rounded weights may well turn a close choice: that is told, not held against them.
      ok: (greedyEqual || dtype === "bf16") && cases.every((c) => c.ok),
    };
  } finally {
    model.close();
  }
}

/** All sequences packed into one run where they fit, else one after the other in chunks with carried state. */
async function compare(
  model: CausalModel,
  sequences: number,
  tokens: number,
  ids: readonly number[],
  want: Float32Array,
  signal: AbortSignal | undefined,
): Promise<number> {
  const error = new RelativeError();
  const row = (s: number) => ids.slice(s * tokens, (s + 1) * tokens);
  if (ids.length <= model.maxTokens) {
    const inputs = Array.from({ length: sequences }, (_, s) => ({ ids: row(s), logits: "all" as const }));
    let at = 0;
    for (const part of await model.run(inputs, signal)) at = error.add(part, want, at);
    return error.value;
  }
  let at = 0;
  for (let s = 0; s < sequences; s++) {
    const session = await model.open();
    try {
      for (let from = 0; from < tokens; from += model.maxTokens) {
        const part = row(s).slice(from, from + model.maxTokens);
        const [logits] = await model.run([{ ids: part, session, logits: "all" }], signal);
        at = error.add(logits!, want, at);
      }
    } finally {
      session.close();
    }
  }
  return error.value;
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
