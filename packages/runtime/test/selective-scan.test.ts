import { afterAll, describe, expect, test } from "vitest";
import { type Device, openDevice } from "../src/index.js";
import {
  expectPackedEqualsAlone,
  expectReversedEqualsFlipped,
  expectStreamedEqualsWhole,
  type ScanUnderTest,
} from "./scan-laws.js";
import { differingBits, generator, StreamOp, seed, uniform } from "./stream-op.js";

const LENGTH = 300;

// Few threads take wide blocks of channels, many take narrow ones.
const devices = new Map<number, Device>();
afterAll(async () => {
  for (const device of devices.values()) await device.close();
});

interface Shape {
  C: number;
  N: number;
}

async function open({ C, N }: Shape, threads: number, reverse = false): Promise<StreamOp> {
  const next = generator(seed);
  if (!devices.has(threads)) devices.set(threads, await openDevice({ device: "cpu", threads }));
  return StreamOp.open(devices.get(threads)!, {
    op: "selective_scan",
    attributes: { reverse },
    tokens: { x: [C], dt: [C], B: [N], C: [N], z: [C] },
    fixed: {
      aLog: { shape: [C, N], data: uniform(next, C * N, -2, 2) },
      D: { shape: [C], data: uniform(next, C) },
      dtBias: { shape: [C], data: uniform(next, C) },
    },
    states: { state: [C, N] },
    slots: 8,
    maxTokens: LENGTH + 200,
    maxSequences: 8,
  });
}

const stream = ({ C, N }: Shape, next: () => number, tokens: number) => ({
  x: uniform(next, tokens * C),
  dt: uniform(next, tokens * C, -4, 1),
  B: uniform(next, tokens * N),
  C: uniform(next, tokens * N),
  z: uniform(next, tokens * C),
});

describe.each([
  { C: 80, N: 16 },
  { C: 37, N: 9 },
  { C: 5, N: 70 },
])(`selective_scan C=$C N=$N, seed ${seed}`, (shape) => {
  const next = generator(seed + shape.C);
  const scan: ScanUnderTest = {
    open: (threads, reverse) => open(shape, threads, reverse),
    stream: (random, tokens) => stream(shape, random, tokens),
  };

  test.each([1, 24])("streamed equals whole, bit by bit, for any cuts, with %i threads", (threads) =>
    expectStreamedEqualsWhole(scan, next, LENGTH, threads),
  );

  test("packed equals alone, bit by bit, whatever the number of threads", () =>
    expectPackedEqualsAlone(scan, next, [1, 3, 24]));

  test.each([1, 24])("a reversed walk equals a flipped one, bit by bit, with %i threads", (threads) =>
    expectReversedEqualsFlipped(scan, next, threads),
  );

  test("a token reaches no earlier one, a channel no other", async () => {
    const { C, N } = shape;
    const op = await open(shape, 1);
    const data = stream(shape, next, LENGTH);
    const [clean] = await op.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    for (const t of [0, 1, 64, 205, LENGTH - 1]) {
      const everything = { ...data };
      for (const [name, width] of Object.entries({ x: C, dt: C, B: N, C: N, z: C })) {
        everything[name as "x"] = data[name as "x"].slice().fill(Number.NaN, t * width, (t + 1) * width);
      }
      const [late] = await op.run([{ stream: everything, from: 0, to: LENGTH, slot: -1 }]);
      expect(differingBits(late!.subarray(0, t * C), clean!.subarray(0, t * C)), `before ${t}`).toBe(0);
      expect(late!.subarray(t * C).every(Number.isNaN), `from ${t} on`).toBe(true);

      const marked = (t * 7) % C;
      const dt = data.dt.slice().fill(Number.NaN, t * C + marked, t * C + marked + 1);
      const [beside] = await op.run([{ stream: { ...data, dt }, from: 0, to: LENGTH, slot: -1 }]);
      for (let i = 0; i < LENGTH * C; i++) {
        const reached = i % C === marked && i >= t * C;
        if (reached ? !Number.isNaN(beside![i]) : beside![i] !== clean![i]) {
          expect.fail(`token ${Math.floor(i / C)}, channel ${i % C} after a NaN at ${t}, ${marked}`);
        }
      }
    }
    op.close();
  });
});
