import { type DType, dtypeSize, expected, InputError } from "@krait/core";

const codes = { f32: "<f4", f64: "<f8", u8: "|u1", u16: "<u2", i32: "<i4", i64: "<i8" } as const;
const byCode = new Map<string, DType>(Object.entries(codes).map(([dtype, code]) => [code, dtype as DType]));

export const npyMagic = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59);
/** No honest header is longer: it holds a dtype and a shape. */
export const maxNpyHeader = 2 ** 16;

/** Whether npy has a name for it: bf16 is none of NumPy's. */
export function hasNpyCode(dtype: DType): dtype is keyof typeof codes {
  return Object.hasOwn(codes, dtype);
}

/** The bytes before the data: format version 1.0, padded to a multiple of 64 as NumPy pads. */
export function npyHeader(dtype: keyof typeof codes, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const dict = `{'descr': '${codes[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const total = Math.ceil((10 + dict.length + 1) / 64) * 64;
  const bytes = new Uint8Array(total).fill(0x20);
  bytes.set(npyMagic);
  bytes.set([1, 0, (total - 10) & 0xff, (total - 10) >> 8], 6);
  bytes.set(new TextEncoder().encode(dict), 10);
  bytes[total - 1] = 0x0a;
  return bytes;
}

export interface NpyHeader {
  dtype: DType;
  shape: number[];
  /** Where the data begins. */
  dataOffset: number;
}

/** Bytes of magic, version and length, before the dictionary: 10 in version 1, 12 in 2 and 3. */
export function npyPreamble(head: Uint8Array, name: string): { begin: number; length: number } {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < 10 || npyMagic.some((byte, i) => head[i] !== byte)) throw invalid(name, "other bytes");
  const major = head[6]!;
  if (major < 1 || major > 3 || head.length < 12) throw invalid(name, `version ${major}`);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > maxNpyHeader) throw invalid(name, `a header of ${length} bytes`);
  return { begin: major === 1 ? 10 : 12, length };
}

/**
 * Reads the dictionary literal and checks it against the size of the file: three keys, in any order, and nothing else.
 *
 * @param text the dictionary
 * @param dataBytes bytes of the file behind it
 */
export function parseNpyHeader(text: string, dataOffset: number, dataBytes: number, name: string): NpyHeader {
  const body = /^\{(.*?),?\s*\}\s*$/s.exec(text)?.[1];
  if (body === undefined) throw invalid(name, "a header that is no dictionary");
  const fields = new Map<string, string>();
  const pair = /\s*(['"])(\w+)\1\s*:\s*(\([^()]*\)|(['"])[^'"]*\4|True|False)\s*(?:,|$)/y;
  while (pair.lastIndex < body.length) {
    const found = pair.exec(body);
    if (!found) throw invalid(name, "a header that cannot be read");
    if (fields.has(found[2]!)) throw invalid(name, `${found[2]} twice`);
    fields.set(found[2]!, found[3]!);
  }
  const [descr, order, tuple] = ["descr", "fortran_order", "shape"].map((key) => fields.get(key));
  if (fields.size !== 3 || descr === undefined || order === undefined || tuple === undefined)
    throw invalid(name, `a header of ${[...fields.keys()].join(", ") || "nothing"}`);
  const dtype = byCode.get(descr.slice(1, -1));
  if (dtype === undefined) throw invalid(name, `dtype ${descr}`);
  const sizes = tuple
    .slice(1, -1)
    .split(",")
    .map((size) => size.trim());
  if (sizes.at(-1) === "") sizes.pop();
  if (order === "True" && sizes.length > 1) throw invalid(name, "Fortran order");
  const shape = sizes.map(Number);
  const elements = shape.reduce((a, b) => a * b, 1);
  if (!sizes.every((size) => /^\d{1,16}$/.test(size)) || !Number.isSafeInteger(elements * dtypeSize(dtype)))
    throw invalid(name, `shape ${tuple}`);
  if (elements * dtypeSize(dtype) !== dataBytes) throw invalid(name, `${dataBytes} bytes for shape ${tuple}`);
  return { dtype, shape, dataOffset };
}

function invalid(name: string, received: string): InputError {
  return new InputError(expected("an npy file of numbers in C order, little-endian", name, received), {
    code: "NPY_INVALID",
    hint: "Write it with numpy.save(file, numpy.ascontiguousarray(array)) in float32, float64, uint8, uint16, int32 or int64.",
  });
}
