import { open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBf16, fromF16, toBf16 } from "@krait/core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { generator } from "../src/conformance/index.js";
import { type Device, openDevice } from "../src/index.js";

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

type Stored = "f32" | "bf16" | "f16" | "f64";
const make: Record<Stored, (n: number) => Float32Array | Uint16Array | Float64Array> = {
  f32: (n) => Float32Array.from({ length: n }, () => random() * 8 - 4),
  f64: (n) => Float64Array.from({ length: n }, () => random() * 8 - 4),
  bf16: (n) => Uint16Array.from({ length: n }, () => toBf16(random() * 8 - 4)),
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
  const found = await buffer.load({ fd: file.fd, offset: 3, count, dtype: stored, ...options }, target, GUARD);
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
    expect(found).toEqual({});
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
    expect((await load(stored, data, count, target, { scale })).found).toEqual({ notFinite: bad });
  }
});

test("a number that bf16 rounds to infinity is not finite in bf16 alone", async () => {
  const data = Float32Array.of(1, 3.4e38, 1);
  expect((await load("f32", data, 3, "bf16")).found).toEqual({ notFinite: 1 });
  expect((await load("f32", data, 3, "f32")).found).toEqual({});
});

test("a file that ends too soon, and a handle that cannot be read, are told", async () => {
  const data = make.f32(100);
  expect((await load("f32", data, 100, "f32")).found).toEqual({});
  const file = await open(path);
  const buffer = await device.zeros(800);
  expect(await buffer.load({ fd: file.fd, offset: 4, count: 100, dtype: "f32" }, "f32")).toEqual({ ended: true });
  await file.close();
  const closed = buffer.load({ fd: 1_000_000, offset: 0, count: 1, dtype: "f32" }, "f32");
  await expect(closed).rejects.toMatchObject({ code: "DEVICE_FAILED" });
  const outside = buffer.load({ fd: 0, offset: 0, count: 201, dtype: "f32" }, "f32");
  await expect(outside).rejects.toMatchObject({ code: "INVALID_RUN" });
  buffer.close();
});
