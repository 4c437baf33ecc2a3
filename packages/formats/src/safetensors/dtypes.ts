import type { DType } from "@krait/core";

/** Bits of one element of every dtype the format knows (safetensors 0.6), and the dtype that holds it here, if one does. */
const stored = {
  F64: [64, "f64"],
  F32: [32, "f32"],
  F16: [16, "f16"],
  BF16: [16, "bf16"],
  I64: [64, "i64"],
  I32: [32, "i32"],
  U16: [16, "u16"],
  U8: [8, "u8"],
  BOOL: [8],
  I8: [8],
  I16: [16],
  U32: [32],
  U64: [64],
  C64: [64],
  F4: [4],
  F6_E2M3: [6],
  F6_E3M2: [6],
  F8_E5M2: [8],
  F8_E4M3: [8],
  F8_E8M0: [8],
} as const satisfies Record<string, readonly [bits: number, dtype?: DType]>;

/** The name of a dtype in a safetensors file. */
export type StoredDType = keyof typeof stored;

export function isStoredDType(name: unknown): name is StoredDType {
  return typeof name === "string" && Object.hasOwn(stored, name);
}

export function storedBits(name: StoredDType): number {
  return stored[name][0];
}

/** The dtype to read it with; `undefined` for those that can be listed but not read. */
export function readableDType(name: StoredDType): DType | undefined {
  return (stored[name] as readonly [number, DType?])[1];
}

export function storedName(dtype: DType): StoredDType {
  return dtype.toUpperCase() as StoredDType;
}
