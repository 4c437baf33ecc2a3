import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Device, openDevice } from "../src/index.js";
import { differingBits, generator, randomCuts, type Share, StreamOp, seed, uniform } from "./stream-op.js";

const LENGTH = 330;
const D = 20;

const patterns = [
  { window: 50, sinks: 0, Hq: 2, Hk: 2, rotaryDims: 20, spare: 0 },
  { window: 64, sinks: 3, Hq: 6, Hk: 2, rotaryDims: 8, spare: 9 },
  { window: 1, sinks: 2, Hq: 1, Hk: 1, rotaryDims: 0, spare: 1 },
  { window: 1000, sinks: 100, Hq: 3, Hk: 1, rotaryDims: 20, spare: 0 },
  // No window: room for a stream behind 5000 positions and no more.
  { window: 0, sinks: 0, Hq: 2, Hk: 1, rotaryDims: 20, spare: 5000 + LENGTH + 1 },
];

describe.each(patterns)(`attention window=$window sinks=$sinks heads=$Hq/$Hk, seed ${seed}`, (pattern) => {
  const { window, sinks, Hq, Hk, rotaryDims, spare } = pattern;
  const next = generator(seed + window);
  let device: Device;
  let attention: StreamOp;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu", threads: 3 });
    const ring = [sinks + window - 1 + spare, Hk, D];
    attention = await StreamOp.open(device, {
      op: "attention",
      attributes: { window, sinks, rotaryDims },
      tokens: { q: [Hq, D], k: [Hk, D], v: [Hk, D] },
      fixed: {},
      states: { keys: ring, values: ring },
      hasPosition: true,
      slots: 8,
      maxTokens: 2 * LENGTH,
      maxSequences: 8,
    });
  });
  afterAll(async () => {
    attention.close();
    await device.close();
  });
  const stream = (tokens = LENGTH) => ({
    q: uniform(next, tokens * Hq * D, -2, 2),
    k: uniform(next, tokens * Hk * D, -2, 2),
    v: uniform(next, tokens * Hk * D),
  });

  test("streamed equals whole, bit by bit, for any cuts", async () => {
    const data = stream();
    await attention.clear();
    const whole = await attention.stream(data, [0, LENGTH], 0);
    const [stateless] = await attention.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    expect(differingBits(stateless!, whole)).toBe(0);
    for (let slot = 1; slot < 6; slot++) {
      const cuts = slot === 1 ? Array.from({ length: LENGTH + 1 }, (_, i) => i) : randomCuts(next, LENGTH);
      expect(differingBits(await attention.stream(data, cuts, slot), whole), `cuts ${cuts}`).toBe(0);
      expect(differingBits(await attention.state(slot), await attention.state(0)), `ring after cuts ${cuts}`).toBe(0);
    }
  });

  test("packed equals alone, bit by bit, from any position and state", async () => {
    const lengths = [0, 1, 130, 2, 0, 64, 70];
    const slots = [6, 3, 0, -1, 5, 7, 1];
    const shares: Share[] = lengths.map((to, i) => ({ stream: stream(to), from: 0, to, slot: slots[i]! }));
    for (const offset of window > 0 ? [0, 7, 5000, 1e9] : [0, 7, 5000]) {
      await attention.fillStates(generator(seed));
      const packed = await attention.run(shares, offset);
      const states = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((s) => attention.state(s)));
      await attention.fillStates(generator(seed));
      for (const [i, share] of shares.entries()) {
        expect(differingBits((await attention.run([share], offset))[0]!, packed[i]!), `sequence ${i}`).toBe(0);
      }
      for (const [s, state] of states.entries()) {
        expect(differingBits(await attention.state(s), state), `slot ${s}`).toBe(0);
      }
    }
  });

  test("a token is seen where the pattern says, nowhere else", async () => {
    const data = stream();
    await attention.clear();
    const [clean] = await attention.run([{ stream: data, from: 0, to: LENGTH, slot: -1 }]);
    for (const t of [0, 1, 99, 200, LENGTH - 1]) {
      const marked = { q: data.q, k: data.k.slice(), v: data.v.slice() };
      for (const name of ["k", "v"] as const) marked[name].fill(Number.NaN, t * Hk * D, (t + 1) * Hk * D);
      for (const cuts of [[0, LENGTH], randomCuts(next, LENGTH)]) {
        const got = await attention.stream(marked, cuts, 0);
        const width = Hq * D;
        for (let i = 0; i < LENGTH; i++) {
          const row = got.subarray(i * width, (i + 1) * width);
          const seen = i >= t && (window === 0 || i - t < window || t < sinks);
          if (seen) expect(row.every(Number.isNaN), `${i} sees ${t}`).toBe(true);
          else expect(differingBits(row, clean!.subarray(i * width, (i + 1) * width)), `${i} and ${t}`).toBe(0);
        }
      }
    }
  });

  test.runIf(window === 0)(
    "without a window a sequence that outgrows its keys is refused, and leaves them alone",
    async () => {
      const data = stream(3);
      await attention.clear();
      const last = 5000 + LENGTH - 2;
      await attention.run([{ stream: data, from: 0, to: 2, slot: 0 }], last);
      const before = await attention.state(0);
      await expect(attention.run([{ stream: data, from: 0, to: 3, slot: 0 }], last)).rejects.toMatchObject({
        message: expect.stringMatching(/Expected at most 5330 positions .* but received 5331/),
      });
      expect(differingBits(await attention.state(0), before)).toBe(0);
      await attention.run([{ stream: data, from: 0, to: 3, slot: -1 }], last);
    },
  );

  test("refuses a position that is no position", async () => {
    const data = stream(2);
    await expect(attention.run([{ stream: data, from: 0, to: 2, slot: 0 }], -5)).rejects.toMatchObject({
      message: expect.stringContaining("Expected positions from 0"),
    });
  });
});
