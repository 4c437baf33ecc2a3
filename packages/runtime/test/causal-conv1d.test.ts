import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Device, openDevice } from "../src/index.js";
import { expectReversedEqualsFlipped } from "./scan-laws.js";
import { differingBits, generator, randomCuts, type Share, StreamOp, seed, uniform } from "./stream-op.js";

const LENGTH = 300;
const C = 37;

describe.each([2, 4, 7])(`causal_conv1d of width %i, seed ${seed}`, (W) => {
  const next = generator(seed + W);
  let device: Device;
  let conv: StreamOp;
  const open = (reverse = false) => {
    const fixed = generator(seed + W);
    return StreamOp.open(device, {
      op: "causal_conv1d",
      attributes: { activation: "silu", reverse },
      tokens: { x: [C] },
      fixed: {
        weight: { shape: [C, W], data: uniform(fixed, C * W) },
        bias: { shape: [C], data: uniform(fixed, C) },
      },
      states: { state: [W - 1, C] },
      slots: 8,
      maxTokens: 2 * LENGTH,
      maxSequences: 8,
    });
  };
  beforeAll(async () => {
    device = await openDevice({ device: "cpu", threads: 3 });
    conv = await open();
  });
  afterAll(async () => {
    conv.close();
    await device.close();
  });
  const stream = (tokens = LENGTH) => ({ x: uniform(next, tokens * C) });

  test("streamed equals whole, bit by bit, for any cuts", async () => {
    const x = stream();
    await conv.clear();
    const whole = await conv.stream(x, [0, LENGTH], 0);
    const [stateless] = await conv.run([{ stream: x, from: 0, to: LENGTH, slot: -1 }]);
    expect(differingBits(stateless!, whole)).toBe(0);
    for (let slot = 1; slot < 5; slot++) {
      const cuts = slot === 1 ? Array.from({ length: LENGTH + 1 }, (_, i) => i) : randomCuts(next, LENGTH);
      expect(differingBits(await conv.stream(x, cuts, slot), whole), `cuts ${cuts}`).toBe(0);
      expect(differingBits(await conv.state(slot), await conv.state(0)), `state after cuts ${cuts}`).toBe(0);
    }
  });

  test("packed equals alone, bit by bit", async () => {
    const lengths = [0, 1, 130, 2, 0, 64, 3];
    const slots = [6, 3, 0, -1, 5, 7, 1];
    const shares: Share[] = lengths.map((to, i) => ({ stream: stream(to), from: 0, to, slot: slots[i]! }));
    const fill = () => conv.fillStates(generator(seed));
    await fill();
    const packed = await conv.run(shares);
    const states = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((s) => conv.state(s)));
    await fill();
    for (const [i, share] of shares.entries()) {
      expect(differingBits((await conv.run([share]))[0]!, packed[i]!), `sequence ${i}`).toBe(0);
    }
    for (const [s, state] of states.entries()) expect(differingBits(await conv.state(s), state), `slot ${s}`).toBe(0);
  });

  test("a reversed walk equals a flipped one, bit by bit", () =>
    expectReversedEqualsFlipped(
      { open: (_, reverse) => open(reverse), stream: (random, tokens) => ({ x: uniform(random, tokens * C) }) },
      next,
      3,
    ));

  test("a token reaches itself and the W − 1 after it, nothing else", async () => {
    const x = stream();
    const [clean] = await conv.run([{ stream: x, from: 0, to: LENGTH, slot: -1 }]);
    x.x.fill(Number.NaN, 100 * C, 101 * C);
    const [marked] = await conv.run([{ stream: x, from: 0, to: LENGTH, slot: -1 }]);
    const rows = Array.from({ length: LENGTH }, (_, t) => marked!.subarray(t * C, (t + 1) * C));
    expect(rows.map((row, t) => (row.every(Number.isNaN) ? t : -1)).filter((t) => t >= 0)).toEqual(
      Array.from({ length: W }, (_, i) => 100 + i),
    );
    expect(differingBits(marked!.subarray(0, 100 * C), clean!.subarray(0, 100 * C))).toBe(0);
    expect(differingBits(marked!.subarray((100 + W) * C), clean!.subarray((100 + W) * C))).toBe(0);
  });
});
