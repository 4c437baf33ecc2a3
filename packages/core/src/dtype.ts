import { expected, UsageError } from "./errors.js";

/** Element types of tensors. `f16` is only ever loaded and converted; `f64` and `u16` live in files, never in programs. */
export const dtypes = ["f32", "bf16", "f16", "u8", "i32", "i64", "f64", "u16"] as const;
export type DType = (typeof dtypes)[number];

const sizes: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, u8: 1, i32: 4, i64: 8, f64: 8, u16: 2 };

/** Bytes of one element. */
export function dtypeSize(dtype: DType): number {
  return sizes[dtype];
}

/** The typed array that holds a dtype in JavaScript. bf16 and f16 are raw 16-bit patterns. */
export type TypedArrayOf<D extends DType> = D extends "f32"
  ? Float32Array
  : D extends "f64"
    ? Float64Array
    : D extends "u8"
      ? Uint8Array
      : D extends "i32"
        ? Int32Array
        : D extends "i64"
          ? BigInt64Array
          : Uint16Array;

export type TypedArray = Float32Array | Float64Array | Uint8Array | Int32Array | BigInt64Array | Uint16Array;

const constructors = {
  f32: Float32Array,
  f64: Float64Array,
  u8: Uint8Array,
  i32: Int32Array,
  i64: BigInt64Array,
  bf16: Uint16Array,
  f16: Uint16Array,
  u16: Uint16Array,
} as const;

export function newTypedArray<D extends DType>(dtype: D, length: number): TypedArrayOf<D> {
  return new constructors[dtype](length) as TypedArrayOf<D>;
}

/** A typed view of `length` elements at a byte offset; copies when the offset is not aligned for the dtype. */
export function viewTypedArray<D extends DType>(
  dtype: D,
  buffer: ArrayBufferLike,
  byteOffset: number,
  length: number,
): TypedArrayOf<D> {
  const bytes = length * sizes[dtype];
  if (byteOffset % sizes[dtype] !== 0) {
    const copy = new Uint8Array(bytes);
    copy.set(new Uint8Array(buffer, byteOffset, bytes));
    return new constructors[dtype](copy.buffer, 0, length) as TypedArrayOf<D>;
  }
  return new constructors[dtype](buffer as ArrayBuffer, byteOffset, length) as TypedArrayOf<D>;
}

export function isDType(value: unknown): value is DType {
  return typeof value === "string" && (dtypes as readonly string[]).includes(value);
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Rounds to nearest even, as every CUDA and AVX-512 conversion does; NaN stays a NaN. */
export function toBf16(value: number): number {
  f32[0] = value;
  const bits = u32[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16(bits: number): number {
  u32[0] = (bits << 16) >>> 0;
  return f32[0]!;
}

export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Any floating array to f32. Throws `UsageError` (DTYPE_UNSUPPORTED) for integer dtypes. */
export function toFloat32(dtype: DType, data: TypedArray): Float32Array {
  if (dtype === "f32") return data as Float32Array;
  const out = new Float32Array(data.length);
  if (dtype === "bf16") for (let i = 0; i < out.length; i++) out[i] = fromBf16(data[i] as number);
  else if (dtype === "f16") for (let i = 0; i < out.length; i++) out[i] = fromF16(data[i] as number);
  else if (dtype === "f64") for (let i = 0; i < out.length; i++) out[i] = data[i] as number;
  else {
    throw new UsageError(expected("a floating dtype", "the conversion to f32", dtype), {
      code: "DTYPE_UNSUPPORTED",
      hint: "Integer tensors are not weights; read them with their own dtype.",
    });
  }
  return out;
}
