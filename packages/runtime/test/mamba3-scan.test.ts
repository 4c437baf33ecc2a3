import { afterAll, describe, expect, test } from "vitest";
import { type Device, openDevice } from "../src/index.js";
import { differingBits, generator, randomCuts, type Share, StreamOp, seed, uniform } from "./stream-op.js";

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

async function open(shape: Shape, threads: number): Promise<StreamOp> {
  const { H, P, N, K } = shape;
  const next = generator(seed);
  if (!devices.has(threads)) devices.set(threads, await openDevice({ device: "cpu", threads }));
  return StreamOp.open(devices.get(threads)!, {
    op: "mamba3_scan",
    attributes: {},
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

  test.each([1, 24])("streamed equals whole, bit by bit, for any cuts, with %i threads", async (threads) => {
    const scan = await open(shape, threads);
    const data = stream(shape, next, LENGTH);
    await scan.clear();
    const whole = await scan.stream(data, [0, LENGTH], 0);
    const [stateless] = await scan.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    expect(differingBits(stateless!, whole)).toBe(0);
    for (let slot = 1; slot < 5; slot++) {
      const cuts = slot === 1 ? Array.from({ length: LENGTH + 1 }, (_, i) => i) : randomCuts(next, LENGTH);
      expect(differingBits(await scan.stream(data, cuts, slot), whole), `cuts ${cuts}`).toBe(0);
      expect(differingBits(await scan.state(slot), await scan.state(0)), `state after cuts ${cuts}`).toBe(0);
    }
    scan.close();
  });

  test("packed equals alone, bit by bit, whatever the number of threads", async () => {
    const lengths = [0, 1, 130, 9, 0, 64, 3, 257];
    const slots = [6, 3, 0, -1, 5, 7, 1, 2];
    const shares: Share[] = lengths.map((to, i) => ({ stream: stream(shape, next, to), from: 0, to, slot: slots[i]! }));
    const run = async (threads: number, packs: Share[][]) => {
      const scan = await open(shape, threads);
      await scan.fillStates(generator(seed));
      const outputs: Float32Array[] = [];
      for (const pack of packs) outputs.push(...(await scan.run(pack)));
      const states: Float32Array[] = [];
      for (let s = 0; s < 8; s++) states.push(await scan.state(s));
      scan.close();
      return [...outputs, ...states];
    };
    const want = await run(
      1,
      shares.map((s) => [s]),
    );
    const packings: [number, Share[][]][] = [
      [1, [shares]],
      [24, [shares]],
      [3, [shares.slice(0, 3), shares.slice(3)]],
    ];
    for (const [threads, packs] of packings) {
      const got = await run(threads, packs);
      expect(got.map((v, i) => differingBits(v, want[i]!))).toEqual(want.map(() => 0));
    }
  });

  test("a token reaches no earlier one, a head no other", async () => {
    const { H, P } = shape;
    const scan = await open(shape, 1);
    const data = stream(shape, next, LENGTH);
    const [clean] = await scan.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    for (const t of [0, 1, 64, 205, LENGTH - 1]) {
      const everything = Object.fromEntries(
        Object.entries(rows(shape)).map(([name, row]) => {
          const width = row.reduce((a, b) => a * b, 1);
          return [name, data[name as "x"].slice().fill(Number.NaN, t * width, (t + 1) * width)];
        }),
      );
      const [late] = await scan.run([{ stream: everything, from: 0, to: LENGTH, slot: -1 }]);
      expect(differingBits(late!.subarray(0, t * H * P), clean!.subarray(0, t * H * P)), `before ${t}`).toBe(0);
      expect(late!.subarray(t * H * P).every(Number.isNaN), `from ${t} on`).toBe(true);

      const marked = (t * 7) % H;
      const dt = data.dt.slice().fill(Number.NaN, t * H + marked, t * H + marked + 1);
      const [beside] = await scan.run([{ stream: { ...data, dt }, from: 0, to: LENGTH, slot: -1 }]);
      for (let i = 0; i < LENGTH * H * P; i++) {
        const reached = Math.floor(i / P) % H === marked && i >= t * H * P;
        if (reached ? !Number.isNaN(beside![i]) : beside![i] !== clean![i]) {
          expect.fail(`token ${Math.floor(i / (H * P))}, head ${Math.floor(i / P) % H} after a NaN at ${t}, ${marked}`);
        }
      }
    }
    scan.close();
  });
});
