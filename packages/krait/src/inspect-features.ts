import { expected, InputError, KraitError } from "@krait/core";
import { openSafetensors, type SafetensorsFile } from "@krait/formats";
import { modalityName } from "@krait/tokenizers";

/** What a feature file holds. */
export interface FeatureReport {
  kind: "features";
  tokens: number;
  /** Numbers per token. */
  dim: number;
  dtype: string;
  /** Tokens per modality; absent where the file names none (a front end alone wrote it). */
  byModality?: { text: number; audio: number; video: number; separator: number };
  /** Seconds: the earliest start and the latest end; absent for a file without tokens. */
  span?: { start: number; end: number };
  metadata: Readonly<Record<string, string>>;
}

/** Rows read at a time: an hour's columns need not fit in memory. */
const ROWS = 2 ** 16;

/**
 * Looks into a feature file as `encodeFile()` and `tokenizeFile()` write it: its header and its times, not its features.
 *
 * @throws InputError (FILE_NOT_FOUND, NOT_A_FEATURE_FILE, SAFETENSORS_*), AbortedError
 */
export async function inspectFeatures(
  path: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<FeatureReport> {
  const file = await openSafetensors(path).catch((error: unknown) => {
    const foreign = KraitError.is(error) && /^(SAFETENSORS|JSON|PICKLE)_/.test(error.code);
    if (!foreign || path.endsWith(".safetensors")) throw error;
    throw notFeatures(path, "a file of another format", error);
  });
  try {
    const { tokens, dim, dtype } = shapeOf(file);
    const options = signal ? { signal } : {};
    const byModality = { text: 0, audio: 0, video: 0, separator: 0 };
    let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let from = 0; from < tokens; from += ROWS) {
      const to = Math.min(tokens, from + ROWS);
      const times = await file.readRows("times", from, to, options);
      for (let i = 0; i < times.length; i += 2) {
        first = Math.min(first, Number(times[i]));
        last = Math.max(last, Number(times[i + 1]));
      }
      if (!file.tensors.has("modality")) continue;
      for (const code of await file.readRows("modality", from, to, options)) {
        const name = modalityName(Number(code));
        if (name === undefined) throw notFeatures(path, `modality ${code}`);
        byModality[name]++;
      }
    }
    return {
      kind: "features",
      tokens,
      dim,
      dtype,
      ...(file.tensors.has("modality") && { byModality }),
      ...(tokens > 0 && { span: { start: first, end: last } }),
      metadata: file.metadata,
    };
  } finally {
    await file.close();
  }
}

function shapeOf({ path, tensors }: SafetensorsFile) {
  const [features, times, modality] = ["features", "times", "modality"].map((name) => tensors.get(name));
  const [tokens, dim] = features?.shape ?? [];
  const fits =
    features?.shape.length === 2 &&
    times?.dtype === "f64" &&
    times.shape.join() === `${tokens},2` &&
    (modality === undefined || (modality.dtype === "u8" && modality.shape.join() === `${tokens}`));
  if (!fits) {
    const names = [...tensors].slice(0, 5).map(([name, { shape }]) => `${name} [${shape.join(", ")}]`);
    throw notFeatures(path, names.join(", ") || "no tensors");
  }
  return { tokens: tokens!, dim: dim!, dtype: features!.storedDtype.toLowerCase() };
}

function notFeatures(path: string, received: string, cause?: unknown): InputError {
  return new InputError(expected("features [tokens, dim] and times [tokens, 2] f64", path, received), {
    code: "NOT_A_FEATURE_FILE",
    hint: "Name a feature file that `krait encode` or `krait tokenize` wrote, or the folder of a published model.",
    ...(cause !== undefined && { cause }),
  });
}
