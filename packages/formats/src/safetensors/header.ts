import { type DType, expected, InputError } from "@krait/core";
import { parseStrictJson } from "../json.js";
import { isStoredDType, readableDType, type StoredDType, storedBits } from "./dtypes.js";

/** Where a tensor lies. Offsets count from the start of the file. */
export interface TensorEntry {
  /** `undefined` when Krait has no such dtype: such a tensor can be listed, not read. */
  readonly dtype: DType | undefined;
  readonly storedDtype: StoredDType;
  readonly shape: readonly number[];
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  tensors: Map<string, TensorEntry>;
  metadata: Readonly<Record<string, string>>;
}

/**
 * Checks a header against the format's own rules (safetensors README, "Format"): the ranges of all tensors, laid end to
 * end, are exactly the data part of the file.
 *
 * @param bytes the JSON, without the eight bytes of its length
 * @param dataBytes bytes of the file behind the header
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, name: string, maxTensors: number): SafetensorsHeader {
  // A leading byte order mark or white space would hide what other readers refuse.
  if (bytes[0] !== 0x7b) throw invalid("HEADER", "a header that begins with {", name, `byte ${bytes[0] ?? "none"}`);
  const json = parseStrictJson(bytes, `the header of ${name}`, { maxBytes: bytes.length, maxDepth: 8 });
  const entries = Object.entries(json as Record<string, unknown>);
  if (entries.length > maxTensors + 1)
    throw invalid("TOO_MANY_TENSORS", `at most ${maxTensors} tensors`, name, entries.length);

  let metadata: Record<string, string> = {};
  const found: [string, TensorEntry][] = [];
  for (const [key, value] of entries) {
    if (key === "__metadata__") metadata = parseMetadata(value, name);
    else found.push([key, parseEntry(key, value, 8 + bytes.length, name)]);
  }
  if (found.length > maxTensors) throw invalid("TOO_MANY_TENSORS", `at most ${maxTensors} tensors`, name, found.length);
  checkRanges(found, 8 + bytes.length, dataBytes, name);
  return { tensors: new Map(found), metadata };
}

function parseMetadata(value: unknown, name: string): Record<string, string> {
  if (!isObject(value)) throw invalid("HEADER", "an object as __metadata__", name, value);
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== "string") throw invalid("HEADER", `a string as __metadata__.${key}`, name, entry);
  }
  return value as Record<string, string>;
}

function parseEntry(key: string, value: unknown, dataStart: number, name: string): TensorEntry {
  const tensor = `${name}, tensor ${JSON.stringify(key)}`;
  if (!isObject(value)) throw invalid("HEADER", "an object", tensor, value);
  for (const field of Object.keys(value)) {
    if (field !== "dtype" && field !== "shape" && field !== "data_offsets")
      throw invalid("HEADER", "dtype, shape and data_offsets alone", tensor, field);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isStoredDType(dtype)) throw invalid("DTYPE", "a dtype of the format", tensor, dtype);
  if (!Array.isArray(shape) || !shape.every(isCount)) throw invalid("SHAPE", "a shape of whole numbers", tensor, shape);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[0]! > offsets[1]!)
    throw invalid("OFFSETS", "data_offsets [begin, end]", tensor, offsets);
  let elements = 1;
  for (const size of shape as number[]) {
    elements *= size;
    if (!Number.isSafeInteger(elements)) throw invalid("SHAPE", "fewer than 2^53 elements", tensor, shape);
  }
  const bits = storedBits(dtype);
  const byteLength = offsets[1]! - offsets[0]!;
  // elements * bits may pass 2^53, so the comparison is the other way round.
  if (elements !== (byteLength / bits) * 8)
    throw invalid("SHAPE", `${elements} elements of ${bits} bits`, tensor, `a range of ${byteLength} bytes`);
  return {
    dtype: readableDType(dtype),
    storedDtype: dtype,
    shape: shape as number[],
    byteOffset: dataStart + offsets[0]!,
    byteLength,
  };
}

/** No tensor overlaps another, no byte belongs to none, and the last one ends where the file does. */
function checkRanges(
  tensors: readonly [string, TensorEntry][],
  dataStart: number,
  dataBytes: number,
  name: string,
): void {
  const ordered = tensors.toSorted(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const [key, { byteOffset, byteLength }] of ordered) {
    const tensor = `${name}, tensor ${JSON.stringify(key)}`;
    if (byteOffset + byteLength > dataStart + dataBytes)
      throw invalid(
        "OFFSETS",
        `data within the ${dataBytes} bytes of the file`,
        tensor,
        byteOffset + byteLength - dataStart,
      );
    if (byteOffset < end) throw invalid("OVERLAP", "data of its own", tensor, `offset ${byteOffset - dataStart}`);
    if (byteOffset > end)
      throw invalid("HOLE", "data right behind the tensor before", tensor, `a hole of ${byteOffset - end} bytes`);
    end = byteOffset + byteLength;
  }
  if (end !== dataStart + dataBytes)
    throw invalid(
      "TRAILING_BYTES",
      "the end of the file behind the last tensor",
      name,
      `${dataStart + dataBytes - end} bytes more`,
    );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export function invalid(code: string, what: string, name: string, received: unknown): InputError {
  return new InputError(expected(what, name, received), {
    code: `SAFETENSORS_${code}`,
    hint: "The file is damaged, cut off or forged; fetch it again from where you trust it.",
  });
}
