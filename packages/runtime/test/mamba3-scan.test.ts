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

const devices = new Map<number, Device>();
afterAll(async () => {
  for (const device of devices.values()) await device.close();
});

interface Shape {
  H: number;
  P: number;
  G: number;
  N: number;
  K: number;
}

const rows = ({ H, P, G, N, K }: Shape) => ({
  x: [H, P],
  dt: [H],
  a: [H],
  trap: [H],
  angle: [K],
  B: [G, N],
  C: [G, N],
});

async function open(shape: Shape, threads: number, reverse = false): Promise<StreamOp> {
  const { H, P, N, K } = shape;
  const next = generator(seed);
  if (!devices.has(threads)) devices.set(threads, await openDevice({ device: "cpu", threads }));
  return StreamOp.open(devices.get(threads)!, {
    op: "mamba3_scan",
    attributes: { reverse },
    tokens: rows(shape),
    fixed: {
      bBias: { shape: [H, N], data: uniform(next, H * N) },
      cBias: { shape: [H, N], data: uniform(next, H * N) },
      D: { shape: [H], data: uniform(next, H) },
      dtBias: { shape: [H], data: uniform(next, H) },
    },
    states: { state: [H, P, N], angleState: [H, K], keyState: [H, N], valueState: [H, P] },
    slots: 8,
    maxTokens: LENGTH + 200,
    maxSequences: 8,
  });
}

const stream = ({ H, P, G, N, K }: Shape, next: () => number, tokens: number) => ({
  x: uniform(next, tokens * H * P),
  dt: uniform(next, tokens * H, -5, 1),
  a: uniform(next, tokens * H, -4, 3),
  trap: uniform(next, tokens * H, -4, 4),
  angle: uniform(next, tokens * K, -2, 2),
  B: uniform(next, tokens * G * N),
  C: uniform(next, tokens * G * N),
});

describe.each([
  { H: 4, P: 16, G: 2, N: 32, K: 8 },
  { H: 3, P: 5, G: 1, N: 13, K: 6 },
  { H: 1, P: 65, G: 1, N: 70, K: 35 },
])(`mamba3_scan H=$H P=$P G=$G N=$N K=$K, seed ${seed}`, (shape) => {
  const next = generator(seed + shape.P);
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

  test("a token reaches no earlier one, a head no other", async () => {
    const { H, P } = shape;
    const op = await open(shape, 1);
    const data = stream(shape, next, LENGTH);
    const [clean] = await op.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    for (const t of [0, 1, 64, 205, LENGTH - 1]) {
      const everything = Object.fromEntries(
        Object.entries(rows(shape)).map(([name, row]) => {
          const width = row.reduce((a, b) => a * b, 1);
          return [name, data[name as "x"].slice().fill(Number.NaN, t * width, (t + 1) * width)];
        }),
      );
      const [late] = await op.run([{ stream: everything, from: 0, to: LENGTH, slot: -1 }]);
      expect(differingBits(late!.subarray(0, t * H * P), clean!.subarray(0, t * H * P)), `before ${t}`).toBe(0);
      expect(late!.subarray(t * H * P).every(Number.isNaN), `from ${t} on`).toBe(true);

      const marked = (t * 7) % H;
      const dt = data.dt.slice().fill(Number.NaN, t * H + marked, t * H + marked + 1);
      const [beside] = await op.run([{ stream: { ...data, dt }, from: 0, to: LENGTH, slot: -1 }]);
      for (let i = 0; i < LENGTH * H * P; i++) {
        const reached = Math.floor(i / P) % H === marked && i >= t * H * P;
        if (reached ? !Number.isNaN(beside![i]) : beside![i] !== clean![i]) {
          expect.fail(`token ${Math.floor(i / (H * P))}, head ${Math.floor(i / P) % H} after a NaN at ${t}, ${marked}`);
        }
      }
    }
    op.close();
  });
});
