import { type DType, fromF16, type TypedArray, toBf16 } from "@krait/core";

export type Converted = Float32Array | Uint16Array;

export interface ConvertOptions {
  scale: number;
  /** Rounds to bf16 also where the result is f32. */
  rounds: boolean;
}

/** All 65536 half-precision numbers; NaN and infinities among them. */
let halves: Float32Array | undefined;

/**
 * Elements of a file in the dtype of a program, or the index of the first that is not finite: exponents are looked at as bits, so
 * that a pass over a gigabyte costs little more than reading it.
 */
export function convert(
  stored: DType,
  raw: TypedArray,
  target: "f32" | "bf16",
  options: ConvertOptions,
): Converted | number {
  const { scale, rounds } = options;
  if (stored === "bf16" && scale === 1) {
    const bits = raw as Uint16Array;
    const bad = firstBad16(bits, 0x7f80);
    if (bad >= 0) return bad;
    return target === "bf16" ? bits : widen(bits);
  }
  const floats = toFloats(stored, raw);
  const bad = firstBad32(floats);
  if (bad >= 0) return bad;
  if (scale !== 1) for (let i = 0; i < floats.length; i++) floats[i] = floats[i]! * scale;
  if (target === "f32" && !rounds) return floats;
  const bits = new Uint16Array(floats.length);
  for (let i = 0; i < bits.length; i++) bits[i] = toBf16(floats[i]!);
  return target === "bf16" ? bits : widen(bits);
}

function toFloats(stored: DType, raw: TypedArray): Float32Array {
  if (stored === "f32") return raw as Float32Array;
  if (stored === "bf16") return widen(raw as Uint16Array);
  if (stored === "f64") return Float32Array.from(raw as Float64Array);
  halves ??= Float32Array.from({ length: 65536 }, (_, i) => fromF16(i));
  const out = new Float32Array(raw.length);
  for (let i = 0; i < out.length; i++) out[i] = halves[raw[i] as number]!;
  return out;
}

function widen(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < out.length; i++) out[i] = bits[i]! << 16;
  return new Float32Array(out.buffer);
}

function firstBad16(bits: Uint16Array, exponent: number): number {
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & exponent) === exponent) return i;
  return -1;
}

function firstBad32(floats: Float32Array): number {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7f800000) === 0x7f800000) return i;
  return -1;
}
