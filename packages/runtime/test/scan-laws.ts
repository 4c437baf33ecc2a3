import { expect } from "vitest";
import { differingBits, generator, randomCuts, type Share, type StreamOp, seed } from "./stream-op.js";

/** A scan under test: programs of it by thread count, and random streams of so many tokens. */
export interface ScanUnderTest {
  open(threads: number): Promise<StreamOp>;
  stream(next: () => number, tokens: number): Share["stream"];
}

/** Any cuts, single tokens among them, give the bits of the whole run, and so does a run without a state. */
export async function expectStreamedEqualsWhole(
  scan: ScanUnderTest,
  next: () => number,
  length: number,
  threads: number,
) {
  const op = await scan.open(threads);
  const data = scan.stream(next, length);
  await op.clear();
  const whole = await op.stream(data, [0, length], 0);
  const [stateless] = await op.run([{ stream: data, from: 0, to: length, slot: -1 }]);
  expect(differingBits(stateless!, whole)).toBe(0);
  for (let slot = 1; slot < 5; slot++) {
    const cuts = slot === 1 ? Array.from({ length: length + 1 }, (_, i) => i) : randomCuts(next, length);
    expect(differingBits(await op.stream(data, cuts, slot), whole), `cuts ${cuts}`).toBe(0);
    expect(differingBits(await op.state(slot), await op.state(0)), `state after cuts ${cuts}`).toBe(0);
  }
  op.close();
}

/** Sequences give the same bits alone, in one pack and in two, for every number of threads. Needs eight slots and sequences. */
export async function expectPackedEqualsAlone(
  scan: ScanUnderTest,
  next: () => number,
  threadCounts: readonly number[],
) {
  const lengths = [0, 1, 130, 9, 0, 64, 3, 257];
  const slots = [6, 3, 0, -1, 5, 7, 1, 2];
  const shares: Share[] = lengths.map((to, i) => ({ stream: scan.stream(next, to), from: 0, to, slot: slots[i]! }));
  const run = async (threads: number, packs: readonly Share[][]) => {
    const op = await scan.open(threads);
    await op.fillStates(generator(seed));
    const outputs: Float32Array[] = [];
    for (const pack of packs) outputs.push(...(await op.run(pack)));
    const states: Float32Array[] = [];
    for (let s = 0; s < 8; s++) states.push(await op.state(s));
    op.close();
    return [...outputs, ...states];
  };
  const alone = shares.map((s) => [s]);
  const want = await run(1, alone);
  for (const threads of threadCounts) {
    for (const packs of [[shares], [shares.slice(0, 3), shares.slice(3)], alone]) {
      const got = await run(threads, packs);
      expect(got.map((v, i) => differingBits(v, want[i]!))).toEqual(want.map(() => 0));
    }
  }
}
