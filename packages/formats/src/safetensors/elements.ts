import { type DType, EnvironmentError, expected, newTypedArray, type TypedArray } from "@krait/core";
import { invalidOption } from "./layout.js";

/** The little-endian bytes of an array, after a check that it is the array of this dtype with this many elements. */
export function elementBytes(name: string, dtype: DType, data: TypedArray, elements: number): Uint8Array {
  const wanted = newTypedArray(dtype, 0).constructor as { new (): TypedArray; name: string };
  if (!(data instanceof wanted)) throw invalidOption(`a ${wanted.name} for ${name} (${dtype})`, data);
  if (data.length !== elements) throw invalidOption(`${elements} elements for ${name}`, data.length);
  assertLittleEndian();
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Files are little-endian, and so is every machine Krait is built for. */
export function assertLittleEndian(): void {
  if (littleEndian) return;
  throw new EnvironmentError(expected("a little-endian processor", "safetensors", "a big-endian one"), {
    code: "BIG_ENDIAN",
    hint: "Read and write model files on an x86-64 or ARM machine.",
  });
}
