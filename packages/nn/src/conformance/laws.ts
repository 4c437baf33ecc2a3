import type { Device } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { type Session, StackModel, type StackOptions, seededWeights } from "../index.js";

/** What one law gave on one stack: a relative RMS error that must stay within its bound. */
export interface LawResult {
  law: string;
  error: number;
  bound: number;
}

const WIDTH = 64;

/** A layout, or a stack's own options beside the common ones. */
type LawStack = string | (StackOptions & { layout: string });

/** Stacks that the laws are held to. */
export const lawLayouts = {
  "mamba-1": "M1x3",
  "mamba-2": "M2x3",
  "mamba-3": "M3x3",
  attention: "Ax3",
  hybrid: "(M2 A)x2 M2",
  reversed: "M1r M2r M3r",
  bidirectional: "M1b M2b M3b",
  "both ways in turn": "(M2 M2r)x2 A M1b",
  "full attention": { layout: "A M2 A", attention: { heads: 4, keyHeads: 2, window: "full" } },
} as const satisfies Record<string, LawStack>;

/** Small sizes that are no multiple of each other, so that chunks, windows and rings end in all places. */
export const lawStack = (stack: LawStack): StackOptions => ({
  width: WIDTH,
  mamba1: { stateSize: 12 },
  mamba2: { stateSize: 16, headDim: 16, groups: 2, chunkSize: 8 },
  mamba3: { stateSize: 12, headDim: 16, groups: 2, outNorm: true },
  attention: { heads: 4, keyHeads: 2, window: 9, sinks: 2 },
  ...(typeof stack === "string" ? { layout: stack } : stack),
});

/** Laws of streaming, packing and state, on random inputs; those of streaming where no layer looks ahead. The bound holds for whole stacks: 1e-5 in f32, 2e-2 in bf16. */
export async function checkLaws(
  device: Device,
  stack: LawStack,
  dtype: "f32" | "bf16",
  seed: number,
): Promise<LawResult[]> {
  const model = await StackModel.create(device, lawStack(stack), seededWeights(7), {
    dtype,
    maxTokens: 512,
    slots: 8,
    contextTokens: 256,
  });
  const bound = dtype === "f32" ? 1e-5 : 2e-2;
  const kit = lawKit(model, seed);
  const results: LawResult[] = [];
  try {
    for (const [law, check] of Object.entries(laws)) {
      if (!model.stack.isCausal && !ofWholeRuns.has(law)) continue;
      const error = await check(kit);
      results.push({ law, error, bound: exact.has(law) ? 0 : bound });
    }
  } finally {
    model.close();
  }
  return results;
}

interface Kit {
  model: StackModel;
  random: () => number;
  values(tokens: number): Float32Array;
  rows(x: Float32Array, from: number, to?: number): Float32Array;
}

function lawKit(model: StackModel, seed: number): Kit {
  const random = generator(seed);
  return {
    model,
    random,
    values: (tokens) => Float32Array.from({ length: tokens * WIDTH }, () => 2 * random() - 1),
    rows: (x, from, to) => x.subarray(from * WIDTH, to === undefined ? undefined : to * WIDTH),
  };
}

function join(...parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** Laws that ask for the same bits. */
const exact = new Set(["a snapshot restores to the same bits", "the same run again gives the same bits"]);

/** Laws that need no session. */
const ofWholeRuns = new Set(["a packed sequence equals itself alone", "the same run again gives the same bits"]);

const difference = (a: Float32Array, b: Float32Array) =>
  a.every((x, i) => Object.is(x, b[i])) ? 0 : relativeRms(a, b) || 1;

const laws: Record<string, (kit: Kit) => Promise<number>> = {
  async "streamed in random cuts, down to one token, equals the whole run"({ model, random, values, rows }) {
    let worst = 0;
    for (let round = 0; round < 3; round++) {
      const tokens = 150 + Math.floor(random() * 100);
      const x = values(tokens);
      const whole = await model.run(x);
      const session = await model.open();
      const parts: Float32Array[] = [];
      for (let at = 0; at < tokens; ) {
        const n = Math.min(tokens - at, random() < 0.4 ? 1 : 1 + Math.floor(random() * 30));
        parts.push(await model.run(rows(x, at, at + n), { sessions: [session] }));
        at += n;
      }
      if (session.position !== tokens) return Number.POSITIVE_INFINITY;
      session.close();
      worst = Math.max(worst, relativeRms(join(...parts), whole));
    }
    return worst;
  },

  async "a packed sequence equals itself alone"({ model, values }) {
    const lengths = [1, 37, 0, 3, 128, 65];
    const parts = lengths.map((n) => values(n));
    const together = await model.run(join(...parts), { lengths });
    let worst = 0;
    let at = 0;
    for (const part of parts) {
      if (part.length > 0)
        worst = Math.max(worst, relativeRms(together.subarray(at, at + part.length), await model.run(part)));
      at += part.length;
    }
    return worst;
  },

  async "packed sequences keep their states, whatever order they come back in"({ model, values, rows }) {
    const x = [40, 25, 61].map((n) => values(n));
    const sessions = await Promise.all(x.map(() => model.open()));
    await model.run(join(...x.map((v) => rows(v, 0, 13))), { lengths: [13, 13, 13], sessions });
    const order = [2, 0, 1];
    const tails = order.map((i) => rows(x[i]!, 13));
    const out = await model.run(join(...tails), {
      lengths: tails.map((t) => t.length / WIDTH),
      sessions: order.map((i) => sessions[i]) as Session[],
    });
    let worst = 0;
    let at = 0;
    for (const i of order) {
      const want = rows(await model.run(x[i]!), 13);
      worst = Math.max(worst, relativeRms(out.subarray(at, at + want.length), want));
      at += want.length;
    }
    for (const s of sessions) s.close();
    return worst;
  },

  async "a snapshot restores to the same bits"({ model, values, rows }) {
    const x = values(90);
    const [session, other] = [await model.open(), await model.open()];
    await model.run(rows(x, 0, 33), { sessions: [session] });
    const snapshot = await session.snapshot();
    const first = await model.run(rows(x, 33), { sessions: [session] });
    await session.restore(snapshot);
    if (session.position !== 33) return Number.POSITIVE_INFINITY;
    const again = await model.run(rows(x, 33), { sessions: [session] });
    await other.restore(snapshot);
    const elsewhere = await model.run(rows(x, 33), { sessions: [other] });
    session.close();
    other.close();
    return Math.max(difference(again, first), difference(elsewhere, first));
  },

  async "a fork goes on by itself"({ model, values, rows }) {
    const [x, a, b] = [values(20), values(9), values(9)];
    const session = await model.open();
    await model.run(x, { sessions: [session] });
    const fork = await session.fork();
    const outA = await model.run(a, { sessions: [session] });
    const outB = await model.run(b, { sessions: [fork] });
    session.close();
    fork.close();
    const wantA = rows(await model.run(join(x, a)), 20);
    const wantB = rows(await model.run(join(x, b)), 20);
    return Math.max(relativeRms(outA, wantA), relativeRms(outB, wantB));
  },

  async "the same run again gives the same bits"({ model, values }) {
    // Often enough that a device which records runs replays them.
    const x = values(200);
    const first = await model.run(x);
    let worst = 0;
    for (let i = 0; i < 4; i++) worst = Math.max(worst, difference(await model.run(x), first));
    return worst;
  },
};
