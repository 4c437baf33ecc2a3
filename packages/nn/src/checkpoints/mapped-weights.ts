import { expected, InputError, type TypedArray, throwIfAborted } from "@krait/core";
import { seededRandom } from "../init.js";
import type { ParameterSpec } from "../layers/index.js";
import type { WeightSource } from "../weights.js";
import { type Converted, convert } from "./convert.js";
import type { ModelFolder } from "./model-folder.js";

/** Elements that are read, converted and handed on at a time. */
const PIECE_ELEMENTS = 2 ** 20;

/** A published tensor, or what of it goes into one tensor of the program. */
export interface TensorPart {
  tensor: string;
  /** As the file must hold it. */
  shape: readonly number[];
  /** Only these rows of it, [from, to). */
  rows?: readonly [number, number];
  /** Multiplies the elements at load; a list gives the rows of each scale in turn. */
  scale?: number | readonly { rows: number; scale: number }[];
}

/** A tensor of the program and the published tensors whose elements, one after the other, it is made of; without any it is initialised. */
export interface ModelTensor extends ParameterSpec {
  parts: readonly TensorPart[];
}

/** A published tensor that repeats another one: it must be equal, and is not kept twice. */
export interface TensorAlias {
  tensor: string;
  of: string;
}

export interface MappedOptions {
  aliases?: readonly TensorAlias[];
  /** Published tensors of parts that are not run. */
  ignored?: RegExp | undefined;
  /** Rounds the weights to bf16 although the program computes in f32. */
  round?: "bf16" | undefined;
}

/** A weight source that also hands out tensors in pieces, already in the program's dtype; each is valid until the next is asked for. */
export interface PiecewiseWeights extends WeightSource {
  pieces(
    spec: ParameterSpec,
    dtype: "f32" | "bf16",
    signal?: AbortSignal,
  ): AsyncGenerator<{ element: number; data: TypedArray }>;
}

export function isPiecewise(source: WeightSource): source is PiecewiseWeights {
  return "pieces" in source;
}

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const some = (names: readonly string[]) =>
  `${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;

/**
 * Weights of a model out of a folder: every published tensor is used, or named in an error.
 *
 * @throws InputError (TENSOR_MISSING, TENSOR_UNEXPECTED, TENSOR_SHAPE, TENSOR_DTYPE, TENSOR_CONFLICT)
 */
export async function mapWeights(
  folder: ModelFolder,
  tensors: readonly ModelTensor[],
  { aliases = [], ignored, round }: MappedOptions = {},
): Promise<PiecewiseWeights> {
  checkTensors(folder, tensors, aliases, ignored);
  for (const alias of aliases) await checkAlias(folder, alias);
  const byName = new Map(tensors.map((t) => [t.name, t]));
  const source: PiecewiseWeights = {
    origin: folder.path,
    names: undefined,
    shapeOf: (name) => byName.get(name)?.shape,
    pieces: (spec, dtype, signal) => pieces(folder, byName.get(spec.name)!, dtype, round, signal),
    async read(spec, signal) {
      const data = new Float32Array(count(spec.shape));
      for await (const piece of source.pieces(spec, "f32", signal)) data.set(piece.data as Float32Array, piece.element);
      return data;
    },
  };
  return source;
}

function checkTensors(
  folder: ModelFolder,
  tensors: readonly ModelTensor[],
  aliases: readonly TensorAlias[],
  ignored: RegExp | undefined,
): void {
  const parts = tensors.flatMap((t) => t.parts);
  const missing = [...new Set(parts.map((p) => p.tensor))].filter((name) => !folder.tensors.has(name));
  if (missing.length > 0) {
    throw new InputError(`Expected tensor ${some(missing)} for the model but ${folder.path} does not hold it`, {
      code: "TENSOR_MISSING",
      hint: "Do config.json and the weights belong together, and are all shards there?",
    });
  }
  const used = new Set([...parts.map((p) => p.tensor), ...aliases.map((a) => a.tensor)]);
  const extra = [...folder.tensors.keys()].filter((name) => !used.has(name) && !ignored?.test(name));
  if (extra.length > 0) {
    throw new InputError(`Expected only the model's tensors for ${folder.path} but received ${some(extra)}`, {
      code: "TENSOR_UNEXPECTED",
      hint: "A tensor that nothing reads usually means another architecture or config.",
    });
  }
  for (const { tensor, shape } of parts) {
    const { entry } = folder.tensors.get(tensor)!;
    if (entry.dtype !== "f32" && entry.dtype !== "bf16" && entry.dtype !== "f16" && entry.dtype !== "f64") {
      throw new InputError(expected("F32, BF16 or F16", `the dtype of tensor ${tensor}`, entry.storedDtype), {
        code: "TENSOR_DTYPE",
        hint: "Quantised checkpoints cannot be read: take the edition in bf16.",
      });
    }
    if (shape.length === entry.shape.length && shape.every((n, i) => n === entry.shape[i])) continue;
    throw new InputError(
      expected(`shape [${shape.join(", ")}]`, `tensor ${tensor} of ${folder.path}`, `[${entry.shape.join(", ")}]`),
      {
        code: "TENSOR_SHAPE",
        hint:
          [...entry.shape].reverse().join() === shape.join()
            ? "It looks transposed: store it as the published model does."
            : "Compare config.json with the weights.",
      },
    );
  }
}

async function checkAlias(folder: ModelFolder, { tensor, of }: TensorAlias): Promise<void> {
  const [a, b] = [folder.tensors.get(tensor), folder.tensors.get(of)];
  if (!a || !b) return;
  let equal = a.entry.storedDtype === b.entry.storedDtype && a.entry.shape.join() === b.entry.shape.join();
  const step = rowsPerPiece(a.entry.shape);
  for (let row = 0; equal && row < a.entry.shape[0]!; row += step) {
    const to = Math.min(a.entry.shape[0]!, row + step);
    const [x, y] = [await a.file.readRows(tensor, row, to), await b.file.readRows(of, row, to)];
    equal = Buffer.compare(bytesOf(x), bytesOf(y)) === 0;
  }
  if (equal) return;
  throw new InputError(expected(`the same values as ${of}`, `tensor ${tensor} of ${folder.path}`, "others"), {
    code: "TENSOR_CONFLICT",
    hint: "config.json ties the two tensors. If they were trained apart, set tie_word_embeddings to false.",
  });
}

const bytesOf = (data: TypedArray) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

function rowsPerPiece(shape: readonly number[]): number {
  return Math.max(1, Math.floor(PIECE_ELEMENTS / Math.max(1, count(shape.slice(1)))));
}

async function* pieces(
  folder: ModelFolder,
  spec: ModelTensor,
  dtype: "f32" | "bf16",
  round: "bf16" | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ element: number; data: Converted }> {
  const { parts, dtype: kind } = spec;
  const target = kind === "weight" ? dtype : "f32";
  const rounds = kind === "weight" && round === "bf16";
  if (spec.parts.length === 0) {
    const data = new Float32Array(count(spec.shape));
    spec.init(data, seededRandom(0, spec.name));
    yield { element: 0, data: convert("f32", data, target, { scale: 1, rounds }) as Converted };
  }
  const reads = parts.flatMap(readsOf);
  const read = ({ tensor, from, to }: Read) => {
    const rows = folder.tensors.get(tensor)!.file.readRows(tensor, from, to, signal && { signal });
    rows.catch(() => {}); // the one that nobody waits for any more
    return rows;
  };
  let into = new ArrayBuffer(0);
  let element = 0;
  let next = reads[0] && read(reads[0]);
  for (const [i, { tensor, from, columns, scale }] of reads.entries()) {
    throwIfAborted(signal, "loading the weights");
    const raw = await next!;
    // The disk works while this piece is converted and copied.
    next = reads[i + 1] && read(reads[i + 1]!);
    if (into.byteLength < 4 * raw.length) into = new ArrayBuffer(4 * raw.length);
    const data = convert(folder.tensors.get(tensor)!.entry.dtype!, raw, target, { scale, rounds }, into);
    if (typeof data === "number") throw notFinite(folder, tensor, from * columns + data);
    yield { element, data };
    element += data.length;
  }
}

interface Read {
  tensor: string;
  from: number;
  to: number;
  /** Elements per row. */
  columns: number;
  scale: number;
}

function readsOf({ tensor, shape, rows: [first, last] = [0, shape[0]!], scale = 1 }: TensorPart): Read[] {
  const segments = typeof scale === "number" ? [{ rows: last - first, scale }] : scale;
  const columns = count(shape.slice(1));
  const step = rowsPerPiece(shape);
  const reads: Read[] = [];
  let from = first;
  for (const segment of segments) {
    const end = from + segment.rows;
    for (; from < end; from = Math.min(end, from + step))
      reads.push({ tensor, from, to: Math.min(end, from + step), columns, scale: segment.scale });
  }
  return reads;
}

function notFinite(folder: ModelFolder, tensor: string, element: number): InputError {
  return new InputError(expected("finite numbers", `tensor ${tensor} of ${folder.path}`, `element ${element}`), {
    code: "WEIGHT_NOT_FINITE",
    hint: "It is NaN or infinite: the checkpoint is broken or was saved during a diverged training run.",
  });
}
