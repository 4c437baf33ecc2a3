import { attention, Graph } from "@krait/graph";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Device, type DeviceBuffer, openDevice, type Program } from "../src/index.js";
import { differingBits, generator, randomCuts, seed, uniform } from "./stream-op.js";

const [Hq, Hk, D, LENGTH, SLOTS, KEPT] = [4, 2, 12, 300, 6, 80];

interface Pattern {
  window: number;
  ahead?: number;
  sinks?: number;
}

/** One sequence's data, [LENGTH, heads, D], and its global tokens. */
interface Sequence {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  globals: number[];
}

/** Attention with global tokens as a program, with carried state where the pattern is causal. */
class Globals {
  private constructor(
    private readonly program: Program,
    private readonly buffers: Record<string, DeviceBuffer>,
  ) {}

  static async open(device: Device, { window, ahead = 0, sinks = 0 }: Pattern): Promise<Globals> {
    const graph = new Graph("globals");
    const [T, S, G] = [graph.symbol("T", 2 * LENGTH), graph.symbol("S", 4), graph.symbol("G", 2 * LENGTH)];
    const ring = window > 0 ? sinks + window : LENGTH;
    const shapes = {
      keys: [ring, Hk, D],
      values: [ring, Hk, D],
      globalKeys: [KEPT, Hk, D],
      globalValues: [KEPT, Hk, D],
    };
    const carries = ahead === 0;
    const states = Object.entries(carries ? shapes : {}).map(([name, s]) => [
      name,
      graph.state(name, "f32", [SLOTS, ...s]),
    ]);
    const { y } = attention(
      {
        q: graph.input("q", "f32", [T, Hq, D]),
        k: graph.input("k", "f32", [T, Hk, D]),
        v: graph.input("v", "f32", [T, Hk, D]),
        cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
        position: graph.input("position", "i64", [S]),
        globals: graph.indices("globals", G, 0, T),
        globalBorders: graph.cuSeqlens("globalBorders", S, G),
        ...Object.fromEntries(states),
        ...(carries && {
          globalPositions: graph.state("globalPositions", "i64", [SLOTS, KEPT]),
          stateIndex: graph.slots("stateIndex", S, SLOTS),
        }),
      },
      { window, ahead, sinks, rotaryDims: D },
    );
    graph.output("y", y);
    const buffers: Record<string, DeviceBuffer> = {};
    if (carries) {
      for (const [name, shape] of Object.entries(shapes))
        buffers[name] = await device.zeros(4 * SLOTS * shape.reduce((a, b) => a * b));
      buffers.globalPositions = await device.zeros(8 * SLOTS * KEPT);
    }
    return new Globals(await device.load(graph, { buffers }), buffers);
  }

  /** Tokens [from, to) of each sequence; slot −1 carries nothing. */
  async run(parts: { of: Sequence; from: number; to: number; slot?: number }[]): Promise<Float32Array[]> {
    const rows = (name: "q" | "k" | "v", heads: number) =>
      Float32Array.from(parts.flatMap(({ of, from, to }) => [...of[name].subarray(from * heads * D, to * heads * D)]));
    const borders = [0];
    const globals: number[] = [];
    const globalBorders = [0];
    for (const { of, from, to } of parts) {
      const start = borders.at(-1)!;
      globals.push(...of.globals.filter((g) => g >= from && g < to).map((g) => start + g - from));
      globalBorders.push(globals.length);
      borders.push(start + to - from);
    }
    const { y } = await this.program.run({
      symbols: { T: borders.at(-1)!, S: parts.length, G: globals.length },
      inputs: {
        q: rows("q", Hq),
        k: rows("k", Hk),
        v: rows("v", Hk),
        cuSeqlens: Int32Array.from(borders),
        position: BigInt64Array.from(parts, (p) => BigInt(p.from)),
        globals: Int32Array.from(globals),
        globalBorders: Int32Array.from(globalBorders),
        ...(this.buffers.keys && { stateIndex: Int32Array.from(parts, (p) => p.slot ?? -1) }),
      },
    });
    return parts.map((_, i) => (y as Float32Array).slice(borders[i]! * Hq * D, borders[i + 1]! * Hq * D));
  }

  /** What a slot knows of global tokens. */
  async positions(slot: number): Promise<bigint[]> {
    return [...(await this.buffers.globalPositions!.read(new BigInt64Array(KEPT), 8 * KEPT * slot))];
  }

  close(): void {
    this.program.close();
    for (const buffer of Object.values(this.buffers)) buffer.close();
  }
}

const next = generator(seed);
const sequence = (globals: number[], tokens = LENGTH): Sequence => ({
  q: uniform(next, tokens * Hq * D, -2, 2),
  k: uniform(next, tokens * Hk * D, -2, 2),
  v: uniform(next, tokens * Hk * D),
  globals,
});
const some = (count: number, length = LENGTH) => {
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(Math.floor(next() * length));
  return [...chosen].sort((a, b) => a - b);
};

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 3 });
});
afterAll(() => device.close());

const patterns: Pattern[] = [
  { window: 10 },
  { window: 1, sinks: 3 },
  { window: 70, sinks: 5 },
  { window: 0 },
  { window: 10, ahead: 6 },
  { window: 1, ahead: -1 },
  { window: 30, ahead: 2, sinks: 4 },
];

describe.each(patterns)(`global tokens with %j, seed ${seed}`, (pattern) => {
  const { window, ahead = 0, sinks = 0 } = pattern;
  let op: Globals;
  beforeAll(async () => {
    op = await Globals.open(device, pattern);
  });
  afterAll(() => op.close());

  test("are seen by all later queries, and looking ahead by all; nothing is seen besides what the pattern says", async () => {
    const data = sequence(some(20));
    const [clean] = await op.run([{ of: data, from: 0, to: LENGTH }]);
    const ordinary = some(3).find((t) => !data.globals.includes(t)) ?? 1;
    for (const t of [data.globals[0]!, data.globals[11]!, data.globals[19]!, ordinary]) {
      const marked = { ...data, k: data.k.slice(), v: data.v.slice() };
      for (const name of ["k", "v"] as const) marked[name].fill(Number.NaN, t * Hk * D, (t + 1) * Hk * D);
      const [got] = await op.run([{ of: marked, from: 0, to: LENGTH }]);
      for (let i = 0; i < LENGTH; i++) {
        const [a, b] = [got, clean].map((y) => y!.subarray(i * Hq * D, (i + 1) * Hq * D));
        const inWindow = (ahead < 0 || t <= i + ahead) && (window === 0 || i - t < window || t < sinks);
        const isGlobal = data.globals.includes(t) && (t <= i || ahead !== 0);
        const seesAll = data.globals.includes(i) && ahead !== 0;
        if (inWindow || isGlobal || seesAll) expect(a!.every(Number.isNaN), `${i} sees ${t}`).toBe(true);
        else expect(differingBits(a!, b!), `${i} and ${t}`).toBe(0);
      }
    }
  });

  test("change nothing for another sequence of the pack", async () => {
    const parts = [some(30, 100), [], [0], some(64)].map((globals, i) => {
      const to = [100, 7, 1, 250][i]!;
      return {
        of: sequence(
          globals.filter((g) => g < to),
          to,
        ),
        from: 0,
        to,
      };
    });
    const packed = await op.run(parts);
    for (const [i, part] of parts.entries())
      expect(differingBits((await op.run([part]))[0]!, packed[i]!), `${i}`).toBe(0);
  });

  test.runIf(ahead === 0)("are carried: streamed equals whole, bit by bit, for any cuts", async () => {
    const data = sequence(some(KEPT));
    const [whole] = await op.run([{ of: data, from: 0, to: LENGTH, slot: 0 }]);
    expect(await op.positions(0)).toEqual(data.globals.map((g) => BigInt(g + 1)));
    for (let slot = 1; slot < 4; slot++) {
      const cuts = slot === 1 ? Array.from({ length: LENGTH + 1 }, (_, i) => i) : randomCuts(next, LENGTH);
      const got: number[] = [];
      for (let i = 0; i + 1 < cuts.length; i++)
        got.push(...(await op.run([{ of: data, from: cuts[i]!, to: cuts[i + 1]!, slot }]))[0]!);
      expect(differingBits(Float32Array.from(got), whole!), `cuts ${cuts}`).toBe(0);
      expect(await op.positions(slot)).toEqual(await op.positions(0));
    }
  });

  test.runIf(ahead === 0)("are refused where there is no room for one more", async () => {
    const data = sequence(some(KEPT, LENGTH - 1));
    data.globals.push(LENGTH - 1);
    await op.run([{ of: data, from: 0, to: LENGTH - 1, slot: 4 }]);
    await expect(op.run([{ of: data, from: LENGTH - 1, to: LENGTH, slot: 4 }])).rejects.toMatchObject({
      message: expect.stringContaining(`Expected at most ${KEPT} global tokens`),
    });
    expect(await op.positions(4)).toEqual(data.globals.slice(0, KEPT).map((g) => BigInt(g + 1)));
  });

  test("are refused in any order but their own, and twice", async () => {
    for (const globals of [
      [5, 3],
      [4, 4],
    ]) {
      const run = op.run([{ of: { ...sequence([]), globals }, from: 0, to: LENGTH }]);
      await expect(run).rejects.toMatchObject({ message: expect.stringContaining("Expected ascending global tokens") });
    }
  });
});

test("a window that looks ahead is refused together with carried keys", () => {
  const graph = new Graph("ahead");
  const [T, S] = [graph.symbol("T", 8), graph.symbol("S", 1)];
  const [q, k, v] = (["q", "k", "v"] as const).map((name) => graph.input(name, "f32", [T, 1, 4]));
  const pools = ["keys", "values"].map((name) => graph.state(name, "f32", [1, 8, 1, 4]));
  const inputs = {
    q: q!,
    k: k!,
    v: v!,
    cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
    keys: pools[0],
    values: pools[1],
  };
  expect(() => attention(inputs, { window: 4, ahead: 3 })).toThrow(/none where keys are carried/);
});
