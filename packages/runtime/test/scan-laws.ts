import { expect } from "vitest";
import { concatenate, differingBits, generator, randomCuts, type Share, type StreamOp, seed } from "./stream-op.js";

/** A scan under test: programs of it by thread count, and random streams of so many tokens. */
export interface ScanUnderTest {
  open(threads: number, reverse?: boolean): Promise<StreamOp>;
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

/**
 * A reversed walk equals flipping each sequence, running forwards and flipping back, bit by bit, states included; and its state goes on
 * where an earlier part of the stream is walked next. `unit`: of cuts that change no bit. Needs eight slots and sequences.
 */
export async function expectReversedEqualsFlipped(scan: ScanUnderTest, next: () => number, threads: number, unit = 1) {
  const lengths = [1, 2, 0, 3, 127, 129, 0, 9];
  const slots = [6, 3, 0, -1, 5, 7, 1, 2];
  const shares: Share[] = lengths.map((to, i) => ({ stream: scan.stream(next, to), from: 0, to, slot: slots[i]! }));
  const run = async (reverse: boolean, packs: readonly Share[][]) => {
    const op = await scan.open(threads, reverse);
    await op.fillStates(generator(seed));
    const outputs: Float32Array[] = [];
    for (const pack of packs) outputs.push(...(await op.run(pack)));
    const states: Float32Array[] = [];
    for (let s = 0; s < 8; s++) states.push(await op.state(s));
    op.close();
    return { outputs, states };
  };
  const flippedShares = shares.map((share) => ({ ...share, stream: flippedStream(share.stream, share.to) }));
  const want = await run(false, [flippedShares]);
  for (const packs of [[shares], shares.map((share) => [share])]) {
    const got = await run(true, packs);
    expect(got.outputs.map((v, i) => differingBits(flipped(v, lengths[i]!), want.outputs[i]!))).toEqual(
      lengths.map(() => 0),
    );
    expect(got.states.map((v, i) => differingBits(v, want.states[i]!))).toEqual(want.states.map(() => 0));
  }

  const length = 300;
  const stream = scan.stream(next, length);
  const op = await scan.open(threads, true);
  await op.clear();
  const [whole] = await op.run([{ stream, from: 0, to: length, slot: 0 }]);
  for (let slot = 1; slot < 4; slot++) {
    const cuts = randomCuts(next, length, unit);
    const parts: Float32Array[] = [];
    for (let i = 0; i + 1 < cuts.length; i++) {
      parts.unshift(...(await op.run([{ stream, from: length - cuts[i + 1]!, to: length - cuts[i]!, slot }])));
    }
    expect(differingBits(concatenate(parts), whole!), `cuts from the end ${cuts}`).toBe(0);
    expect(differingBits(await op.state(slot), await op.state(0)), `state after cuts from the end ${cuts}`).toBe(0);
  }
  op.close();
}

/** The rows in the opposite order. */
function flipped(rows: Float32Array, count: number): Float32Array {
  const width = count > 0 ? rows.length / count : 0;
  return concatenate(
    Array.from({ length: count }, (_, t) => rows.subarray((count - 1 - t) * width, (count - t) * width)),
  );
}

const flippedStream = (stream: Share["stream"], tokens: number): Share["stream"] =>
  Object.fromEntries(Object.entries(stream).map(([name, rows]) => [name, flipped(rows, tokens)]));
