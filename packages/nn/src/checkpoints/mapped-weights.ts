import { dtypeSize, expected, fromBf16, InputError, type TypedArray, throwIfAborted, toBf16 } from "@krait/core";
import type { Device, DeviceBuffer, FileRead } from "@krait/runtime";
import { allBuffers } from "../all-buffers.js";
import { seededRandom } from "../init.js";
import type { ParameterSpec } from "../layers/index.js";
import { mapFiles } from "./map-files.js";
import type { ModelFolder, StoredTensor } from "./model-folder.js";

/** Elements of two tensors that are compared at a time. */
const PIECE_ELEMENTS = 2 ** 20;

/** Bytes that go to the device in one call: so often, at most, a signal is heard. */
const BUNDLE_BYTES = 2 ** 26;

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

/**
 * Where weights lie on the CPU: `mapped` in their files, as far as those hold them as the program wants them, which takes no copy and no
 * memory but needs files that nobody writes to; `copied` always in memory of their own.
 */
export type WeightPlacement = "mapped" | "copied";

export interface LoadTo {
  dtype: "f32" | "bf16";
  placement?: WeightPlacement | undefined;
  signal?: AbortSignal | undefined;
}

/** The memory of weights, and the work that remains until they are there. */
export interface PlacedWeights {
  /** In the order of the specs. Those in a mapped file cannot be written to. */
  readonly buffers: readonly DeviceBuffer[];
  /** To be waited for before the buffers are closed. Rejects with `InputError` (WEIGHT_NOT_FINITE, FILE_CHANGED), `AbortedError`. */
  readonly loaded: Promise<void>;
}

/** Weights that go from their files to a device without passing through JavaScript. */
export interface LoadableWeights {
  /** For messages: the folder. */
  readonly origin: string;
  /** Finds memory of the device for tensors in the program's dtype and begins to fill it. */
  load(device: Device, specs: readonly ParameterSpec[], to: LoadTo): Promise<PlacedWeights>;
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
): Promise<LoadableWeights> {
  checkTensors(folder, tensors, aliases, ignored);
  for (const alias of aliases) await checkAlias(folder, alias);
  const byName = new Map(tensors.map((t) => [t.name, t]));
  return {
    origin: folder.path,
    async load(device, specs, { dtype, placement = "mapped", signal }) {
      const tensors = specs.map((spec) => plannedTensor(folder, byName.get(spec.name)!, dtype, round));
      const buffers = await placeTensors(device, tensors, placement);
      const loaded = loadTensors(folder, device, tensors, buffers, signal);
      loaded.catch(() => {}); // whoever waits for it hears of it
      return { buffers, loaded };
    },
  };
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

/** A tensor as the program wants it, and the stretches of files that give its elements. */
interface PlannedTensor {
  spec: ModelTensor;
  target: "f32" | "bf16";
  rounds: boolean;
  elements: number;
  reads: readonly (Read & { stored: StoredTensor; dtype: FileRead["dtype"]; offset: number })[];
}

/** A read of the device, and what it reads, for messages. */
interface Planned {
  read: FileRead;
  stored: StoredTensor;
  tensor: string;
  from: number;
}

function plannedTensor(
  folder: ModelFolder,
  spec: ModelTensor,
  dtype: "f32" | "bf16",
  round: "bf16" | undefined,
): PlannedTensor {
  const target = spec.dtype === "weight" ? dtype : "f32";
  const rounds = spec.dtype === "weight" && round === "bf16";
  const reads = spec.parts.flatMap(readsOf).map((read) => {
    const stored = folder.tensors.get(read.tensor)!;
    const dtype = stored.entry.dtype as FileRead["dtype"]; // checkTensors has seen it
    return { ...read, stored, dtype, offset: stored.entry.byteOffset + read.from * dtypeSize(dtype) };
  });
  return { spec, target, rounds, elements: count(spec.shape), reads };
}

/** Whether one stretch of a file is the tensor as the program wants it. */
function liesInFile({ target, rounds, elements, reads: [read, ...others] }: PlannedTensor): boolean {
  return (
    read !== undefined &&
    others.length === 0 &&
    read.count === elements &&
    read.count > 0 &&
    read.scale === 1 &&
    read.dtype === target &&
    !(rounds && target === "f32") &&
    read.offset % dtypeSize(target) === 0
  );
}

async function placeTensors(
  device: Device,
  tensors: readonly PlannedTensor[],
  placement: WeightPlacement,
): Promise<DeviceBuffer[]> {
  const there = placement === "mapped" && device.kind === "cpu" ? tensors.filter(liesInFile) : [];
  const files = await mapFiles(
    device,
    there.map(({ reads }) => reads[0]!.stored.file),
  );
  try {
    return await allBuffers(
      tensors.map(async (tensor) => {
        const bytes = tensor.elements * dtypeSize(tensor.target);
        const file = liesInFile(tensor) ? files.get(tensor.reads[0]!.stored.file) : undefined;
        return file ? file.buffer(tensor.reads[0]!.offset, bytes) : device.allocate(bytes);
      }),
    );
  } finally {
    for (const file of files.values()) file.close();
  }
}

async function loadTensors(
  folder: ModelFolder,
  device: Device,
  tensors: readonly PlannedTensor[],
  buffers: readonly DeviceBuffer[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const planned: Planned[] = [];
  for (const [i, { spec, target, rounds, reads }] of tensors.entries()) {
    const into = buffers[i]!;
    if (reads.length === 0) await into.write(initial(spec, target, rounds));
    let element = 0;
    for (const { stored, dtype, offset, count, scale, tensor, from } of reads) {
      const read = { fd: stored.file.fd, offset, count, dtype, scale, rounds, into, target, element };
      planned.push({ read, stored, tensor, from });
      element += count;
    }
  }
  // One bundle waits at the device while it reads another. None is left there when this ends: the files may be closed then.
  let last: Promise<void> = Promise.resolve();
  for (const bundle of bundlesOf(planned)) {
    const next = readBundle(folder, bundle, device, signal);
    const ended = next.catch(() => {});
    try {
      await last;
    } catch (error) {
      await ended;
      throw error;
    }
    last = next;
  }
  await last;
}

function* bundlesOf(planned: readonly Planned[]): Generator<Planned[]> {
  let bundle: Planned[] = [];
  let bytes = 0;
  for (const one of planned) {
    bundle.push(one);
    bytes += one.read.count * dtypeSize(one.read.dtype);
    if (bytes < BUNDLE_BYTES) continue;
    yield bundle;
    [bundle, bytes] = [[], 0];
  }
  if (bundle.length > 0) yield bundle;
}

async function readBundle(
  folder: ModelFolder,
  bundle: readonly Planned[],
  device: Device,
  signal: AbortSignal | undefined,
): Promise<void> {
  throwIfAborted(signal, "loading the weights");
  const files = [...new Set(bundle.map(({ stored }) => stored.file))];
  for (const file of files) await file.expectUnchanged();
  const fault = await device.readFiles(bundle.map(({ read }) => read));
  // Only a file that was cut ends before a tensor of its header does; one that was rewritten may hold any numbers.
  for (const file of files) await file.expectUnchanged();
  if (fault === undefined) return;
  const { stored, tensor, from } = bundle[fault.read]!;
  if (fault.notFinite === undefined) throw fileChanged(stored.file.path);
  throw notFinite(folder, tensor, from + fault.notFinite);
}

/** Of a tensor that no file holds. */
function initial(spec: ModelTensor, target: "f32" | "bf16", rounds: boolean): TypedArray {
  const data = new Float32Array(count(spec.shape));
  spec.init(data, seededRandom(0, spec.name));
  if (target === "f32" && !rounds) return data;
  const bits = Uint16Array.from(data, toBf16);
  return target === "bf16" ? bits : Float32Array.from(bits, fromBf16);
}

/** Elements that lie one after the other in a file and have one scale. */
interface Read {
  tensor: string;
  from: number;
  count: number;
  scale: number;
}

function readsOf({ tensor, shape, rows: [first, last] = [0, shape[0]!], scale = 1 }: TensorPart): Read[] {
  const segments = typeof scale === "number" ? [{ rows: last - first, scale }] : scale;
  const columns = count(shape.slice(1));
  let row = first;
  return segments.map((segment) => {
    const from = row * columns;
    row += segment.rows;
    return { tensor, from, count: segment.rows * columns, scale: segment.scale };
  });
}

function fileChanged(path: string): InputError {
  return new InputError(expected("a file that stays as it is", path, "one that ended while it was read"), {
    code: "FILE_CHANGED",
    hint: "Another program writes to it; wait until it is done, then load the model again.",
  });
}

function notFinite(folder: ModelFolder, tensor: string, element: number): InputError {
  return new InputError(expected("finite numbers", `tensor ${tensor} of ${folder.path}`, `element ${element}`), {
    code: "WEIGHT_NOT_FINITE",
    hint: "It is NaN or infinite: the checkpoint is broken or was saved during a diverged training run.",
  });
}
