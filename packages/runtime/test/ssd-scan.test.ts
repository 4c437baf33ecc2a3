import { afterAll, describe, expect, test } from "vitest";
import { relativeRms } from "../src/conformance/index.js";
import { type Device, openDevice } from "../src/index.js";
import { expectPackedEqualsAlone, expectReversedEqualsFlipped, type ScanUnderTest } from "./scan-laws.js";
import { differingBits, generator, randomCuts, StreamOp, seed, uniform } from "./stream-op.js";

const LENGTH = 400;

// Few threads take sequences one by one, many share the chunks of each.
const devices = new Map<number, Device>();
afterAll(async () => {
  for (const device of devices.values()) await device.close();
});

interface Shape {
  H: number;
  P: number;
  G: number;
  N: number;
  chunkSize: number;
}

const shapes: Shape[] = [
  { H: 4, P: 24, G: 2, N: 40, chunkSize: 32 },
  { H: 1, P: 70, G: 1, N: 9, chunkSize: 33 },
  { H: 2, P: 16, G: 1, N: 16, chunkSize: 8 },
  { H: 3, P: 5, G: 3, N: 17, chunkSize: 1 },
];

async function open({ H, P, G, N, chunkSize }: Shape, threads: number, reverse = false): Promise<StreamOp> {
  const next = generator(seed);
  if (!devices.has(threads)) devices.set(threads, await openDevice({ device: "cpu", threads }));
  return StreamOp.open(devices.get(threads)!, {
    op: "ssd_scan",
    attributes: { chunkSize, reverse },
    tokens: { x: [H, P], dt: [H], B: [G, N], C: [G, N] },
    fixed: {
      aLog: { shape: [H], data: uniform(next, H, -2, 1) },
      D: { shape: [H, P], data: uniform(next, H * P) },
      dtBias: { shape: [H], data: uniform(next, H) },
    },
    states: { state: [H, P, N] },
    slots: 8,
    maxTokens: LENGTH + 200,
    maxSequences: 8,
  });
}

const stream = ({ H, P, G, N }: Shape, next: () => number, tokens: number) => ({
  x: uniform(next, tokens * H * P),
  dt: uniform(next, tokens * H, -4, 1),
  B: uniform(next, tokens * G * N),
  C: uniform(next, tokens * G * N),
});

describe.each(shapes)(`ssd_scan H=$H P=$P G=$G N=$N chunks of $chunkSize, seed ${seed}`, (shape) => {
  const next = generator(seed + shape.H);
  const scan: ScanUnderTest = {
    open: (threads, reverse) => open(shape, threads, reverse),
    stream: (random, tokens) => stream(shape, random, tokens),
  };

  test.each([1, 2, 24])("streamed equals whole with %i threads", async (threads) => {
    const op = await open(shape, threads);
    const data = stream(shape, next, LENGTH);
    await op.clear();
    const whole = await op.stream(data, [0, LENGTH], 0);
    const state = await op.state(0);
    const [stateless] = await op.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    expect(differingBits(stateless!, whole)).toBe(0);
    for (let slot = 1; slot < 4; slot++) {
      const cuts = randomCuts(next, LENGTH, shape.chunkSize);
      expect(differingBits(await op.stream(data, cuts, slot), whole), `cuts ${cuts}`).toBe(0);
      expect(differingBits(await op.state(slot), state), `state after cuts ${cuts}`).toBe(0);
    }
    for (let slot = 4; slot < 7; slot++) {
      const cuts = slot === 4 ? Array.from({ length: LENGTH + 1 }, (_, i) => i) : randomCuts(next, LENGTH);
      expect(relativeRms(await op.stream(data, cuts, slot), whole), `cuts ${cuts}`).toBeLessThan(1e-5);
      expect(relativeRms(await op.state(slot), state), `state after cuts ${cuts}`).toBeLessThan(1e-5);
    }
    op.close();
  });

  test("packed equals alone, bit by bit, whatever the number of threads", () =>
    expectPackedEqualsAlone(scan, next, [1, 3, 24, 100]));

  test.each([1, 24])("a reversed walk equals a flipped one, bit by bit, with %i threads", (threads) =>
    expectReversedEqualsFlipped(scan, next, threads, shape.chunkSize),
  );

  test("a token reaches no earlier one", async () => {
    const { H, P, G, N } = shape;
    const op = await open(shape, 2);
    const data = stream(shape, next, LENGTH);
    const [clean] = await op.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    for (const t of [0, 1, 8, 205, LENGTH - 1]) {
      const marked = { ...data };
      for (const [name, width] of Object.entries({ x: H * P, dt: H, B: G * N, C: G * N })) {
        marked[name as "x"] = data[name as "x"].slice().fill(Number.NaN, t * width, (t + 1) * width);
      }
      const [got] = await op.run([{ stream: marked, from: 0, to: LENGTH, slot: -1 }]);
      expect(differingBits(got!.subarray(0, t * H * P), clean!.subarray(0, t * H * P)), `before ${t}`).toBe(0);
      expect(got!.subarray(t * H * P).every(Number.isNaN), `from ${t} on`).toBe(true);
    }
    op.close();
  });
});
