import { stat } from "node:fs/promises";
import { type DType, expected, InputError, KraitError, type TypedArray } from "@krait/core";
import { hasPartial, npyBeside, openNpy, openPartial, openSafetensors } from "@krait/formats";
import { modalityName } from "@krait/tokenizers";
import { isNpy } from "./row-file.js";

/** What a feature file holds. */
export interface FeatureReport {
  /** `partial` is what a run that has not finished, or was killed, has written so far. */
  kind: "features" | "partial";
  tokens: number;
  /** Numbers per token. */
  dim: number;
  dtype: string;
  /** Tokens per modality; absent where the file names none (a front end alone wrote it). */
  byModality?: { text: number; audio: number; video: number; class: number; separator: number };
  /** Seconds: the earliest start and the latest end; absent for a file without tokens or times. */
  span?: { start: number; end: number };
  /** Empty for npy, which has no place for it. */
  metadata: Readonly<Record<string, string>>;
}

/** A file of columns, whatever its format. */
interface Columns {
  kind: FeatureReport["kind"];
  path: string;
  tensors: ReadonlyMap<string, { dtype: DType | undefined; stored: string; shape: readonly number[] }>;
  metadata: Readonly<Record<string, string>>;
  readRows(name: string, from: number, to: number, options?: { signal?: AbortSignal }): Promise<TypedArray>;
  close(): Promise<void>;
}

/** Rows read at a time: an hour's columns need not fit in memory. */
const ROWS = 2 ** 16;

/**
 * Looks into a feature file as `encodeFile()` and `tokenizeFile()` write it, safetensors or npy: its header and its times, not its features.
 * Of a run that has not finished it takes the name that the result will have, or that of any of its `.partial` files.
 *
 * @throws InputError (FILE_NOT_FOUND, NOT_A_FEATURE_FILE, SAFETENSORS_*, NPY_INVALID, PARTIAL_INVALID), AbortedError
 */
export async function inspectFeatures(
  path: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<FeatureReport> {
  const file = await openColumns(path);
  try {
    const { tokens, dim, dtype, hasTimes, hasModality } = shapeOf(file);
    const options = signal ? { signal } : {};
    const byModality = { text: 0, audio: 0, video: 0, class: 0, separator: 0 };
    let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let from = 0; from < tokens; from += ROWS) {
      const to = Math.min(tokens, from + ROWS);
      const times = hasTimes ? await file.readRows("times", from, to, options) : [];
      for (let i = 0; i < times.length; i += 2) {
        first = Math.min(first, Number(times[i]));
        last = Math.max(last, Number(times[i + 1]));
      }
      if (!hasModality) continue;
      for (const code of await file.readRows("modality", from, to, options)) {
        const name = modalityName(Number(code));
        if (name === undefined) throw notFeatures(path, `modality ${code}`);
        byModality[name]++;
      }
    }
    return {
      kind: file.kind,
      tokens,
      dim,
      dtype,
      ...(hasModality && { byModality }),
      ...(tokens > 0 && hasTimes && { span: { start: first, end: last } }),
      metadata: file.metadata,
    };
  } finally {
    await file.close();
  }
}

async function openColumns(path: string): Promise<Columns> {
  const exists = await isFile(path);
  if (/\.partial(\.\w+)?$/.test(path) || (!exists && (await hasPartial(path)))) return partialColumns(path);
  return isNpy(path) ? npyColumns(path) : safetensorsColumns(path);
}

async function partialColumns(path: string): Promise<Columns> {
  const file = await openPartial(path);
  const tensors = new Map([...file.tensors].map(([name, tensor]) => [name, { ...tensor, stored: tensor.dtype }]));
  return {
    kind: "partial",
    path,
    tensors,
    metadata: file.metadata,
    readRows: (...of) => file.readRows(...of),
    close: () => file.close(),
  };
}

async function safetensorsColumns(path: string): Promise<Columns> {
  const file = await openSafetensors(path).catch((error: unknown) => {
    const foreign = KraitError.is(error) && /^(SAFETENSORS|JSON|PICKLE)_/.test(error.code);
    if (!foreign || path.endsWith(".safetensors")) throw error;
    throw notFeatures(path, "a file of another format", error);
  });
  const tensors = [...file.tensors].map(
    ([name, { dtype, storedDtype, shape }]) => [name, { dtype, stored: storedDtype.toLowerCase(), shape }] as const,
  );
  return {
    kind: "features",
    path,
    tensors: new Map(tensors),
    metadata: file.metadata,
    readRows: (...of) => file.readRows(...of),
    close: () => file.close(),
  };
}

/** One array, with its times and modalities where they lie beside it. */
async function npyColumns(path: string): Promise<Columns> {
  const files = new Map([["features", await openNpy(path)]]);
  const close = async () => {
    for (const file of files.values()) await file.close();
  };
  try {
    for (const name of ["times", "modality"]) {
      const beside = npyBeside(path, name);
      if (await isFile(beside)) files.set(name, await openNpy(beside));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    kind: "features",
    path,
    tensors: new Map([...files].map(([name, { dtype, shape }]) => [name, { dtype, stored: dtype, shape }])),
    metadata: {},
    readRows: (name, from, to, options) => files.get(name)!.readRows(from, to, options),
    close,
  };
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

function shapeOf({ path, tensors }: Columns) {
  const [features, times, modality] = ["features", "times", "modality"].map((name) => tensors.get(name));
  const [tokens, dim] = features?.shape ?? [];
  const timesFit = times?.dtype === "f64" && times.shape.join() === `${tokens},2`;
  const fits =
    features?.shape.length === 2 &&
    (timesFit || (times === undefined && isNpy(path))) &&
    (modality === undefined || (modality.dtype === "u8" && modality.shape.join() === `${tokens}`));
  if (!fits) {
    const names = [...tensors].slice(0, 5).map(([name, { shape }]) => `${name} [${shape.join(", ")}]`);
    throw notFeatures(path, names.join(", ") || "no tensors");
  }
  return {
    tokens: tokens!,
    dim: dim!,
    dtype: features!.stored,
    hasTimes: times !== undefined,
    hasModality: modality !== undefined,
  };
}

function notFeatures(path: string, received: string, cause?: unknown): InputError {
  return new InputError(expected("features [tokens, dim] and times [tokens, 2] f64", path, received), {
    code: "NOT_A_FEATURE_FILE",
    hint: "Name a feature file that `krait encode` or `krait tokenize` wrote, or the folder of a published model.",
    ...(cause !== undefined && { cause }),
  });
}
