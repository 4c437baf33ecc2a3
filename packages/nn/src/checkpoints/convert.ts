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
 * Elements of a file in the dtype of a program, or the index of the first that is not finite. Exponents are looked at as bits in the
 * pass that converts, so that a gigabyte costs little more than reading it.
 *
 * @param into memory that the result may use, at least 4 bytes per element
 */
export function convert(
  stored: DType,
  raw: TypedArray,
  target: "f32" | "bf16",
  { scale, rounds }: ConvertOptions,
  into: ArrayBuffer = new ArrayBuffer(4 * raw.length),
): Converted | number {
  const out = new Float32Array(into, 0, raw.length);
  if (stored === "bf16" && scale === 1) {
    const bits = raw as Uint16Array;
    const good = target === "bf16" ? finite16(bits) : widen(bits, out);
    return good ? (target === "bf16" ? bits : out) : bits.findIndex((b) => (b & 0x7f80) === 0x7f80);
  }
  const floats = toFloats(stored, raw, out);
  if (!finite32(floats)) return floats.findIndex((x) => !Number.isFinite(x));
  if (scale !== 1) for (let i = 0; i < floats.length; i++) floats[i] = floats[i]! * scale;
  if (target === "f32" && !rounds) return floats;
  const bits = new Uint16Array(floats.length);
  for (let i = 0; i < bits.length; i++) bits[i] = toBf16(floats[i]!);
  if (target === "bf16") return bits;
  widen(bits, out);
  return out;
}

function toFloats(stored: DType, raw: TypedArray, out: Float32Array): Float32Array {
  if (stored === "f32") return raw as Float32Array;
  if (stored === "bf16") widen(raw as Uint16Array, out);
  else if (stored === "f64") out.set(raw as Float64Array);
  else {
    halves ??= Float32Array.from({ length: 65536 }, (_, i) => fromF16(i));
    for (let i = 0; i < out.length; i++) out[i] = halves[raw[i] as number]!;
  }
  return out;
}

// One more than an exponent of all ones reaches the sign's bit: the sum over all elements is looked at once.

/** bf16 to f32; whether all were finite. */
function widen(bits: Uint16Array, out: Float32Array): boolean {
  const words = new Int32Array(out.buffer, out.byteOffset, out.length);
  let seen = 0;
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    words[i] = b << 16;
    seen |= (b & 0x7f80) + 0x80;
  }
  return (seen & 0x8000) === 0;
}

function finite16(bits: Uint16Array): boolean {
  let seen = 0;
  for (let i = 0; i < bits.length; i++) seen |= (bits[i]! & 0x7f80) + 0x80;
  return (seen & 0x8000) === 0;
}

function finite32(floats: Float32Array): boolean {
  const words = new Int32Array(floats.buffer, floats.byteOffset, floats.length);
  let seen = 0;
  for (let i = 0; i < words.length; i++) seen |= (words[i]! & 0x7f800000) + 0x800000;
  return seen >= 0;
}
