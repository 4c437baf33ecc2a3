import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { KraitError } from "@krait/core";
import type { Device } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { type Session, StackModel, seededWeights } from "../index.js";
import { checkLayers } from "./layer-oracle.js";
import { LAW_WIDTH, type LawStack, lawStack } from "./table.js";

/** What one law gave on one stack: a relative RMS error, or another number that says how far it was missed, with its bound. */
export interface LawResult {
  law: string;
  error: number;
  bound: number;
}

const MAX_TOKENS = 512;
const CONTEXT = 256;

/**
 * Laws of streaming, packing, state, memory and refusals, on random inputs; those of streaming where no layer looks ahead. The bound holds
 * for whole stacks: 1e-5 in f32, 2e-2 in bf16. Layers by themselves are held to float64: 1e-5 and 1e-2.
 */
export async function checkLaws(
  device: Device,
  stack: LawStack,
  dtype: "f32" | "bf16",
  seed: number,
): Promise<LawResult[]> {
  const options = lawStack(stack);
  const model = await StackModel.create(device, options, seededWeights(7), {
    dtype,
    maxTokens: MAX_TOKENS,
    slots: 8,
    contextTokens: CONTEXT,
  });
  const bound = dtype === "f32" ? 1e-5 : 2e-2;
  const kit = new Kit(model, seed);
  const results: LawResult[] = [
    {
      law: "each layer equals float64, packed and carried, from memory of NaNs and within its ends",
      error: await checkLayers(device, options, dtype, seed),
      bound: dtype === "f32" ? 1e-5 : 1e-2,
    },
  ];
  try {
    for (const [law, check] of Object.entries(laws)) {
      if (!model.stack.isCausal && !ofWholeRuns.has(law)) continue;
      results.push({ law, error: await check(kit), bound: bounds[law] ?? bound });
    }
  } finally {
    model.close();
  }
  return results;
}

/** Tokens [from, to) of a sequence [tokens, width]. */
interface Part {
  x: Float32Array;
  from?: number;
  to?: number;
  session?: Session;
}

/** Places of global tokens, where the stack has some: first, alone, neighbours, behind a run's end. */
const GLOBALS = [0, 7, 33, 34, 127, 150];

class Kit {
  readonly random: () => number;

  constructor(
    readonly model: StackModel,
    seed: number,
  ) {
    this.random = generator(seed);
  }

  values(tokens: number): Float32Array {
    return Float32Array.from({ length: tokens * LAW_WIDTH }, () => 2 * this.random() - 1);
  }

  /** One pack; the features of each part. */
  async pack(parts: Part[]): Promise<Float32Array[]> {
    const spans = parts.map(({ x, from = 0, to = x.length / LAW_WIDTH }) => ({ x, from, to }));
    const lengths = spans.map(({ from, to }) => to - from);
    const marked = this.model.stack.globalTokens > 0;
    const out = await this.model.run(join(...spans.map(({ x, from, to }) => rows(x, from, to))), {
      lengths,
      sessions: parts.map(({ session }) => session),
      ...(marked && {
        globals: spans.map(({ from, to }) => GLOBALS.filter((g) => g >= from && g < to).map((g) => g - from)),
      }),
    });
    let at = 0;
    return lengths.map((n) => {
      at += n;
      return rows(out, at - n, at);
    });
  }

  async run(x: Float32Array, part: Omit<Part, "x"> = {}): Promise<Float32Array> {
    return (await this.pack([{ x, ...part }]))[0]!;
  }
}

const rows = (x: Float32Array, from: number, to?: number) =>
  x.subarray(from * LAW_WIDTH, to === undefined ? undefined : to * LAW_WIDTH);

function join(...parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** What is close is not enough for these. */
const bounds: Record<string, number> = {
  "a snapshot restores to the same bits": 0,
  "the same run again gives the same bits": 0,
  "what is refused says why and changes nothing": 0,
  "resident memory does not grow with the tokens": 0.5,
};

/** Laws that need no session. */
const ofWholeRuns = new Set([
  "a packed sequence equals itself alone",
  "the same run again gives the same bits",
  "a sequence of NaNs changes nothing of its neighbours",
  "what is refused says why and changes nothing",
  "resident memory does not grow with the tokens",
]);

const difference = (a: Float32Array, b: Float32Array) =>
  a.every((x, i) => Object.is(x, b[i])) ? 0 : relativeRms(a, b) || 1;

const laws: Record<string, (kit: Kit) => Promise<number>> = {
  async "streamed in random cuts, down to one token, equals the whole run"(kit) {
    let worst = 0;
    for (let round = 0; round < 3; round++) {
      const tokens = 150 + Math.floor(kit.random() * 100);
      const x = kit.values(tokens);
      const whole = await kit.run(x);
      const session = await kit.model.open();
      const parts: Float32Array[] = [];
      for (let from = 0; from < tokens; ) {
        const n = Math.min(tokens - from, kit.random() < 0.4 ? 1 : 1 + Math.floor(kit.random() * 30));
        parts.push(await kit.run(x, { from, to: from + n, session }));
        from += n;
      }
      if (session.position !== tokens) return Number.POSITIVE_INFINITY;
      session.close();
      worst = Math.max(worst, relativeRms(join(...parts), whole));
    }
    return worst;
  },

  async "streamed in runs of 1, 2, 3, 127 and 129 tokens equals the whole run"(kit) {
    const tokens = 256;
    const x = kit.values(tokens);
    const whole = await kit.run(x);
    let worst = 0;
    for (const size of [1, 2, 3, 127, 129]) {
      const session = await kit.model.open();
      const parts: Float32Array[] = [];
      for (let from = 0; from < tokens; from += size)
        parts.push(await kit.run(x, { from, to: Math.min(tokens, from + size), session }));
      session.close();
      worst = Math.max(worst, relativeRms(join(...parts), whole));
    }
    return worst;
  },

  async "a packed sequence equals itself alone"(kit) {
    const parts = [1, 37, 0, 3, 128, 65].map((n) => ({ x: kit.values(n) }));
    const together = await kit.pack(parts);
    let worst = 0;
    for (const [i, { x }] of parts.entries())
      if (x.length > 0) worst = Math.max(worst, relativeRms(together[i]!, await kit.run(x)));
    return worst;
  },

  async "packed sequences keep their states, whatever order they come back in"(kit) {
    const x = [40, 25, 61].map((n) => kit.values(n));
    const sessions = await Promise.all(x.map(() => kit.model.open()));
    await kit.pack(x.map((x, i) => ({ x, to: 13, session: sessions[i]! })));
    const order = [2, 0, 1];
    const out = await kit.pack(order.map((i) => ({ x: x[i]!, from: 13, session: sessions[i]! })));
    let worst = 0;
    for (const [at, i] of order.entries())
      worst = Math.max(worst, relativeRms(out[at]!, rows(await kit.run(x[i]!), 13)));
    for (const s of sessions) s.close();
    return worst;
  },

  async "a snapshot restores to the same bits"(kit) {
    const x = kit.values(90);
    const [session, other] = [await kit.model.open(), await kit.model.open()];
    await kit.run(x, { to: 33, session });
    const snapshot = await session.snapshot();
    const first = await kit.run(x, { from: 33, session });
    await session.restore(snapshot);
    if (session.position !== 33) return Number.POSITIVE_INFINITY;
    const again = await kit.run(x, { from: 33, session });
    await other.restore(snapshot);
    const elsewhere = await kit.run(x, { from: 33, session: other });
    session.close();
    other.close();
    return Math.max(difference(again, first), difference(elsewhere, first));
  },

  async "a fork goes on by itself"(kit) {
    const [start, a, b] = [kit.values(20), kit.values(9), kit.values(9)];
    const [x, y] = [join(start, a), join(start, b)];
    const session = await kit.model.open();
    await kit.run(x, { to: 20, session });
    const fork = await session.fork();
    const outX = await kit.run(x, { from: 20, session });
    const outY = await kit.run(y, { from: 20, session: fork });
    session.close();
    fork.close();
    return Math.max(relativeRms(outX, rows(await kit.run(x), 20)), relativeRms(outY, rows(await kit.run(y), 20)));
  },

  async "the same run again gives the same bits"(kit) {
    // Often enough that a device which records runs replays them.
    const x = kit.values(200);
    const first = await kit.run(x);
    let worst = 0;
    for (let i = 0; i < 4; i++) worst = Math.max(worst, difference(await kit.run(x), first));
    return worst;
  },

  async "a sequence of NaNs changes nothing of its neighbours"(kit) {
    const parts = [37, 70, 5, 128].map((n) => ({ x: kit.values(n) }));
    const clean = await kit.pack(parts);
    const poison = (i: number) => ({ x: new Float32Array(parts[i]!.x.length).fill(Number.NaN) });
    const got = await kit.pack(parts.map((part, i) => (i % 2 === 1 ? poison(i) : part)));
    if (!got[1]!.every(Number.isNaN)) return Number.POSITIVE_INFINITY; // NaNs that vanish have not been read
    // Not to the bit: with other rows an expert may take another kernel.
    return Math.max(relativeRms(got[0]!, clean[0]!), relativeRms(got[2]!, clean[2]!));
  },

  async "what is refused says why and changes nothing"(kit) {
    const { model } = kit;
    const x = kit.values(40);
    const whole = await kit.run(x);
    const session = model.stack.isCausal ? await model.open() : undefined;
    const part = session ? { session } : {};
    const first = session && (await kit.run(x, { to: 20, ...part }));
    const sessions = session ? [session] : [];
    const attempts: (() => Promise<unknown>)[] = [
      () => model.run(kit.values(MAX_TOKENS + 1), { sessions }),
      () => model.run(rows(x, 20).subarray(1), { sessions }),
      () => model.run(rows(x, 20), { sessions, lengths: [21] }),
      () => model.run(rows(x, 20), { sessions: [], lengths: [21, -1] }),
      () => model.run(rows(x, 20), { sessions: [], lengths: [10.5, 9.5] }),
      () => model.run(rows(x, 20), { sessions, globals: [[20]] }),
      () => model.run(rows(x, 20), { sessions, globals: [[-1]] }),
      () => model.run(rows(x, 20), { sessions, signal: AbortSignal.abort() }),
    ];
    if (session) {
      const snapshot = await session.snapshot();
      const closed = await model.open();
      closed.close();
      attempts.push(
        () => session.restore({ ...snapshot, layout: "another" }),
        () => session.restore({ ...snapshot, position: -1 }),
        () => model.run(rows(x, 20), { sessions: [closed] }),
        () => model.run(rows(x, 20), { sessions: [session, session], lengths: [10, 10] }),
      );
      if (model.stateBytes > 0) attempts.push(() => session.restore({ ...snapshot, states: {} }));
    }
    let misses = 0;
    for (const attempt of attempts) {
      const told = await attempt().then(
        () => false,
        (e: unknown) => KraitError.is(e) && e.code.length > 0 && (e.code === "ABORTED" || Boolean(e.hint)),
      );
      if (!told) misses++;
    }
    const rest = session ? join(first!, await kit.run(x, { from: 20, ...part })) : await kit.run(x);
    session?.close();
    // Where it was cut the rounding may differ; what a refusal would break is far beyond that.
    return misses + (relativeRms(rest, whole) < 0.05 ? 0 : 1);
  },

  /** Growth in each of three stretches, as a share of what one row for every token would take. */
  async "resident memory does not grow with the tokens"(kit) {
    const { model } = kit;
    const runs = 24;
    const x = kit.values(MAX_TOKENS);
    const bounded = model.stack.isCausal && model.stack.stateGrowth === "bounded";
    const session = bounded ? await model.open() : undefined;
    const sizes: number[] = [];
    for (let stretch = 0; stretch < 4; stretch++) {
      for (let i = 0; i < runs; i++) await model.run(x, session ? { sessions: [session] } : {});
      collectGarbage();
      sizes.push(process.memoryUsage().rss);
    }
    if (session && session.position !== 4 * runs * MAX_TOKENS) return Number.POSITIVE_INFINITY;
    session?.close();
    // What is kept of each token grows in every stretch; heaps and pools that find their size do not.
    const least = Math.min(...sizes.slice(1).map((size, i) => size - sizes[i]!));
    return Math.max(0, least) / (runs * x.byteLength);
  },
};

/** Arrays that nothing holds would look like growth until the engine chooses to free them. */
const collectGarbage: () => void = (() => {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
})();
