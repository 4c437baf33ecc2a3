import { type DType, dtypeSize, expected, UsageError } from "@krait/core";
import { storedName } from "./dtypes.js";

export interface PlannedTensor {
  name: string;
  dtype: DType;
  shape: readonly number[];
}

export interface Layout {
  /** The length, the JSON and its padding: everything before the first tensor. A multiple of 8 bytes. */
  header: Uint8Array;
  /** Tensors in the order of the file, each with its bytes. */
  tensors: (PlannedTensor & { byteLength: number })[];
}

const lone = /\p{Surrogate}/u;

/**
 * Lays tensors end to end, wide elements first and then by name, as the reference writer does: so every tensor starts at a
 * multiple of its element size, and the same tensors give the same bytes.
 *
 * Throws `UsageError` (INVALID_OPTION).
 */
export function layOut(tensors: readonly PlannedTensor[], metadata: Readonly<Record<string, string>>): Layout {
  const ordered = tensors
    .map((tensor) => ({ ...tensor, byteLength: product(tensor) * dtypeSize(tensor.dtype) }))
    .sort((a, b) => dtypeSize(b.dtype) - dtypeSize(a.dtype) || (a.name < b.name ? -1 : 1));
  const fields: string[] = [];
  const notes = Object.entries(checkMetadata(metadata)).sort(([a], [b]) => (a < b ? -1 : 1));
  if (notes.length > 0) {
    const pairs = notes.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let offset = 0;
  for (const { name, dtype, shape, byteLength } of ordered) {
    const end = offset + byteLength;
    const entry = { dtype: storedName(dtype), shape, data_offsets: [offset, end] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    offset = end;
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  return { header, tensors: ordered };
}

export function checkTensorName(name: string): void {
  if (name !== "__metadata__" && name !== "__proto__" && !lone.test(name)) return;
  throw invalidOption("a tensor name other than __metadata__ and __proto__, in well-formed Unicode", name);
}

export function checkMetadata(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  for (const [key, value] of Object.entries(metadata)) {
    if (key === "__proto__" || lone.test(key)) throw invalidOption("metadata keys in well-formed Unicode", key);
    if (typeof value !== "string" || lone.test(value)) throw invalidOption(`a string as metadata.${key}`, value);
  }
  return metadata;
}

export function product({ name, shape }: { name: string; shape: readonly number[] }): number {
  let elements = 1;
  for (const size of shape) {
    if (!(Number.isSafeInteger(size) && size >= 0)) throw invalidOption(`a shape of whole numbers for ${name}`, shape);
    elements *= size;
  }
  if (elements * 8 > Number.MAX_SAFE_INTEGER) throw invalidOption(`fewer than 2^50 elements for ${name}`, shape);
  return elements;
}

export function invalidOption(what: string, received: unknown): UsageError {
  return new UsageError(expected(what, "the safetensors writer", received), {
    code: "INVALID_OPTION",
    hint: "Names and metadata are strings, shapes are whole numbers, and data has the dtype and length of its shape.",
  });
}
