import { parseOptions } from "@krait/core";
import { z } from "zod";
import { coefficientBits, type FilterName, filterNames, resampleTaps, type Taps } from "./filters.js";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A rectangle in pixels. */
export interface Box extends Size {
  readonly left: number;
  readonly top: number;
}

const side = z.number().int().min(1).max(65535);
const sizeSchema = z.object({ width: side, height: side });
const filterSchema = z.enum(filterNames);

const half = 1 << (coefficientBits - 1);

/** What mixes each axis of a picture into a part of the resized one. */
export interface ResizeTables {
  readonly box: Box;
  readonly columns: Taps;
  readonly rows: Taps;
}

/** Throws `UsageError` (INVALID_OPTION) for sizes that are none and boxes outside the target. */
export function resizeTables(source: Size, target: Size, filter: FilterName, box?: Box): ResizeTables {
  parseOptions(sizeSchema, source, "Resizer source");
  parseOptions(sizeSchema, target, "Resizer target");
  parseOptions(filterSchema, filter, "Resizer filter");
  const part = box ?? { left: 0, top: 0, ...target };
  const { left, top, width, height } = part;
  parseOptions(z.number().int().min(0), Math.min(left, top), "Resizer box");
  parseOptions(z.number().int().min(1), Math.min(width, height), "Resizer box");
  parseOptions(z.number().max(target.width), left + width, "Resizer box");
  parseOptions(z.number().max(target.height), top + height, "Resizer box");
  // An axis that keeps its size is not mixed: its pixels are taken one by one.
  const axis = (size: number, to: number, from: number, count: number) =>
    resampleTaps(size === to ? "nearest" : filter, size, to, from, from + count);
  return {
    box: part,
    columns: axis(source.width, target.width, left, width),
    rows: axis(source.height, target.height, top, height),
  };
}

/**
 * Resamples RGB24 images of one size to another, as Pillow's Image.resize does to the bit: coefficients of 22 bits, rows first, then
 * columns, rounded to bytes in between. The filter widens when shrinking (antialias). Reuses its buffers: one call at a time.
 *
 * With `box` only that part of the result is computed, with the same values. Throws `UsageError` (INVALID_OPTION).
 */
export class Resizer {
  readonly box: Box;
  private readonly columns: Taps;
  private readonly rows: Taps;
  private readonly firstRow: number;
  private readonly between: Uint8Array;
  private readonly sums: Int32Array;

  constructor(
    readonly source: Size,
    readonly target: Size,
    readonly filter: FilterName,
    box?: Box,
  ) {
    const tables = resizeTables(source, target, filter, box);
    this.box = tables.box;
    this.columns = tables.columns;
    this.rows = tables.rows;
    const { width, height } = this.box;
    this.firstRow = this.rows.first[0]!;
    const lastRow = this.rows.first[height - 1]! + this.rows.count[height - 1]!;
    this.between = new Uint8Array((lastRow - this.firstRow) * width * 3);
    this.sums = new Int32Array(width * 3);
  }

  /** @param pixels RGB24, source.height · source.width · 3 bytes. Returns box.height · box.width · 3. */
  run(pixels: Uint8Array): Uint8Array {
    const { width, height } = this.source;
    parseOptions(z.literal(width * height * 3), pixels.length, "Resizer.run() bytes");
    this.mixColumns(pixels);
    const out = new Uint8Array(this.box.width * this.box.height * 3);
    this.mixRows(out);
    return out;
  }

  /** Along each row that is needed, to `between`. */
  private mixColumns(pixels: Uint8Array): void {
    const { between, firstRow, source, target, box } = this;
    const rowBytes = source.width * 3;
    const outBytes = box.width * 3;
    const rows = between.length / outBytes;
    if (source.width === target.width) {
      for (let y = 0; y < rows; y++) {
        const at = (firstRow + y) * rowBytes + box.left * 3;
        between.set(pixels.subarray(at, at + outBytes), y * outBytes);
      }
      return;
    }
    const { first, count, width, values } = this.columns;
    for (let y = 0; y < rows; y++) {
      const row = (firstRow + y) * rowBytes;
      let out = y * outBytes;
      for (let x = 0; x < box.width; x++) {
        let at = row + first[x]! * 3;
        let r = half;
        let g = half;
        let b = half;
        const end = x * width + count[x]!;
        for (let k = x * width; k < end; k++) {
          const c = values[k]!;
          r = (r + Math.imul(pixels[at]!, c)) | 0;
          g = (g + Math.imul(pixels[at + 1]!, c)) | 0;
          b = (b + Math.imul(pixels[at + 2]!, c)) | 0;
          at += 3;
        }
        between[out] = clamp(r >> coefficientBits);
        between[out + 1] = clamp(g >> coefficientBits);
        between[out + 2] = clamp(b >> coefficientBits);
        out += 3;
      }
    }
  }

  /** Across the rows of `between`, four at a time, so that memory is read in order. */
  private mixRows(out: Uint8Array): void {
    const { between, firstRow, source, target, box, sums } = this;
    const rowBytes = box.width * 3;
    const { first, count, width, values } = this.rows;
    if (source.height === target.height) {
      out.set(between);
      return;
    }
    for (let y = 0; y < box.height; y++) {
      sums.fill(half);
      const taps = count[y]!;
      let at = (first[y]! - firstRow) * rowBytes;
      let k = 0;
      for (; k + 4 <= taps; k += 4, at += 4 * rowBytes) {
        const a = values[y * width + k]!;
        const b = values[y * width + k + 1]!;
        const c = values[y * width + k + 2]!;
        const d = values[y * width + k + 3]!;
        for (let x = 0; x < rowBytes; x++) {
          const p = at + x;
          const ab = (Math.imul(between[p]!, a) + Math.imul(between[p + rowBytes]!, b)) | 0;
          const cd = (Math.imul(between[p + 2 * rowBytes]!, c) + Math.imul(between[p + 3 * rowBytes]!, d)) | 0;
          sums[x] = (sums[x]! + ab + cd) | 0;
        }
      }
      for (; k < taps; k++, at += rowBytes) {
        const c = values[y * width + k]!;
        for (let x = 0; x < rowBytes; x++) sums[x] = (sums[x]! + Math.imul(between[at + x]!, c)) | 0;
      }
      const base = y * rowBytes;
      for (let x = 0; x < rowBytes; x++) out[base + x] = clamp(sums[x]! >> coefficientBits);
    }
  }
}

function clamp(value: number): number {
  return Math.max(0, Math.min(255, value));
}
