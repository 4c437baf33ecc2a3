import { open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBf16, fromF16, toBf16 } from "@krait/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generator } from "../src/conformance/index.js";
import { type Device, type FileRead, openDevice } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const path = join(tmpdir(), `krait-load-weights-${process.pid}`);

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 3 });
});
afterAll(async () => {
  await device.close();
  await rm(path, { force: true });
});

const bf16s = (n: number) => Uint16Array.from({ length: n }, () => toBf16(random() * 8 - 4));

type Stored = "f32" | "bf16" | "f16" | "f64";
const make: Record<Stored, (n: number) => Float32Array | Uint16Array | Float64Array> = {
  f32: (n) => Float32Array.from({ length: n }, () => random() * 8 - 4),
  f64: (n) => Float64Array.from({ length: n }, () => random() * 8 - 4),
  bf16: bf16s,
  // All that are finite: subnormal ones among them.
  f16: (n) => Uint16Array.from({ length: n }, () => Math.floor(random() * 0x7c00) | (random() < 0.5 ? 0x8000 : 0)),
};
const numberIn = (stored: Stored, x: number) =>
  stored === "bf16" ? fromBf16(x) : stored === "f16" ? fromF16(x) : Math.fround(x);

/** A guard in front and behind: what is loaded must stay within its elements. */
const GUARD = 5;

async function load(stored: Stored, data: ArrayBufferView, count: number, target: "f32" | "bf16", options = {}) {
  // At an odd place in the file, as tensors behind a header may lie.
  await writeFile(
    path,
    Buffer.concat([Buffer.alloc(3), new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]),
  );
  const size = target === "f32" ? 4 : 2;
  const buffer = await device.zeros((count + 2 * GUARD) * size);
  const file = await open(path);
  const found = await device.readFiles([
    { fd: file.fd, offset: 3, count, dtype: stored, into: buffer, target, element: GUARD, ...options },
  ]);
  await file.close();
  const all = await buffer.read(
    target === "f32" ? new Float32Array(count + 2 * GUARD) : new Uint16Array(count + 2 * GUARD),
  );
  buffer.close();
  expect([...all.subarray(0, GUARD), ...all.subarray(GUARD + count)]).toEqual(Array(2 * GUARD).fill(0));
  return { found, values: all.subarray(GUARD, GUARD + count) as Float32Array | Uint16Array };
}

const counts = [1, 7, 33, 1000, 140_001, 2_100_003];
const cases = (["f32", "bf16", "f16", "f64"] as const).flatMap((stored) =>
  (["f32", "bf16"] as const).flatMap((target) => [1, 0.3].map((scale) => [stored, target, scale] as const)),
);

test.each(cases)(`%s in a file is %s in a buffer, times %d, seed ${seed}`, async (stored, target, scale) => {
  for (const count of counts) {
    const data = make[stored](count);
    const { found, values } = await load(stored, data, count, target, { scale });
    expect(found).toBeUndefined();
    const factor = Math.fround(scale);
    const wrong = data.findIndex((x, i) => {
      const wanted = Math.fround(numberIn(stored, x) * factor);
      return !Object.is(values[i], target === "f32" ? wanted : toBf16(wanted));
    });
    expect(wrong, `of ${count}`).toBe(-1);
  }
});

test("float32 may be rounded to what bf16 can hold", async () => {
  const data = make.f32(1001);
  const { values } = await load("f32", data, 1001, "f32", { rounds: true });
  expect(values).toEqual(Float32Array.from(data, (x) => fromBf16(toBf16(x))));
});

test.each(cases)("what is not finite in %s is found for %s, times %d", async (stored, target, scale) => {
  const infinite = { f32: Number.NEGATIVE_INFINITY, f64: Number.NaN, bf16: 0xff80, f16: 0x7c01 }[stored];
  for (const [count, bad] of [
    [1, 0],
    [40, 39],
    [900_000, 700_001],
  ] as const) {
    const data = make[stored](count);
    data[bad] = infinite;
    expect((await load(stored, data, count, target, { scale })).found).toEqual({ read: 0, notFinite: bad });
  }
});

test("a number that bf16 rounds to infinity is not finite in bf16 alone", async () => {
  const data = Float32Array.of(1, 3.4e38, 1);
  expect((await load("f32", data, 3, "bf16")).found).toEqual({ read: 0, notFinite: 1 });
  expect((await load("f32", data, 3, "f32")).found).toBeUndefined();
});

test("a file that ends too soon, and a handle that cannot be read, are told", async () => {
  const data = make.f32(100);
  expect((await load("f32", data, 100, "f32")).found).toBeUndefined();
  const file = await open(path);
  const buffer = await device.zeros(800);
  const read = { fd: file.fd, offset: 7, count: 100, dtype: "f32", into: buffer, target: "f32" } as const;
  expect(await device.readFiles([read])).toEqual({ read: 0 });
  expect(await device.readFiles([{ ...read, count: 99 }, read])).toEqual({ read: 1 });
  await file.close();
  const closed = device.readFiles([{ ...read, fd: 1_000_000 }]);
  await expect(closed).rejects.toMatchObject({ code: "DEVICE_FAILED" });
  buffer.close();
});

test("elements outside of their buffer, or between its elements, and buffers of another device are refused", async () => {
  const [buffer, other] = [await device.zeros(800), await openDevice({ device: "cpu", threads: 1 })];
  const foreign = await other.zeros(800);
  const read = { fd: 0, offset: 0, count: 100, dtype: "f32", into: buffer, target: "f32" } as const;
  for (const wrong of [{ count: 201 }, { element: 101 }, { element: -1 }, { element: 0.5 }, { into: foreign }]) {
    await expect(device.readFiles([read, { ...read, ...wrong }])).rejects.toMatchObject({ code: "INVALID_RUN" });
  }
  foreign.close();
  buffer.close();
  await expect(device.readFiles([read])).rejects.toMatchObject({ code: "INVALID_RUN" });
  await other.close();
});

describe(`many reads in one call, seed ${seed}`, () => {
  // Around the sizes at which reads are cut: a piece of 2¹⁷ elements, a huge page of 2²⁰.
  const sizes = [1, 131_073, 3, 1_048_577, 5, 64, 2_500_001, 7, 0, 262_144];
  const places = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, n) => sum + n, 0));
  const all = bf16s(sizes.reduce((sum, n) => sum + n, 0));

  /** Every other one in a buffer of its own, the rest one behind the other in a common one; read by three threads. */
  async function readAll(data: Uint16Array) {
    await writeFile(path, Buffer.concat([Buffer.alloc(5), new Uint8Array(data.buffer)]));
    const common = await device.zeros(2 * data.length);
    const reads: FileRead[] = [];
    const file = await open(path);
    for (const [i, count] of sizes.entries()) {
      const into = i % 2 === 0 ? await device.zeros(2 * count) : common;
      const element = into === common ? places[i]! : 0;
      const place = { fd: file.fd, offset: 5 + 2 * places[i]!, count, dtype: "bf16", target: "bf16" } as const;
      reads.push({ ...place, into, element });
    }
    const fault = await device.readFiles(reads);
    await file.close();
    const values: Uint16Array[] = [];
    for (const { into, count, element } of reads) values.push(await into.read(new Uint16Array(count), 2 * element!));
    for (const { into } of reads) into.close();
    return { fault, values };
  }

  test("each gives the bits of its place in the file", async () => {
    const { fault, values } = await readAll(all);
    expect(fault).toBeUndefined();
    values.forEach((part, i) => {
      const from = places[i]!;
      expect(Buffer.compare(Buffer.from(part.buffer), Buffer.from(all.slice(from, from + sizes[i]!).buffer))).toBe(0);
    });
  });

  test("the first that is not finite is told, whichever thread comes upon another first", async () => {
    const [first, later] = [6, 9].map((i) => places[i]!);
    const data = all.slice();
    for (const at of [first! + 2_000_000, first! + 2_400_000, later! + 1]) data[at] = 0x7f80;
    for (let i = 0; i < 5; i++) expect((await readAll(data)).fault).toEqual({ read: 6, notFinite: 2_000_000 });
  });
});
