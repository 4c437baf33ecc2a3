import { type Device, inspectCuda, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StackModel, seededWeights } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const values = (tokens: number, width: number) => Float32Array.from({ length: tokens * width }, () => 2 * random() - 1);
const WIDTH = 64;

const layouts = {
  "mamba-2": { layout: "M2x3" },
  attention: { layout: "Ax3" },
  hybrid: { layout: "(M2 A)x2 M2" },
} as const;

const stackOptions = (layout: string) => ({
  width: WIDTH,
  layout,
  mamba2: { stateSize: 16, headDim: 16, groups: 2, chunkSize: 8 },
  attention: { heads: 4, keyHeads: 2, window: 9, sinks: 2 },
});

/** Random cuts of `total`, many of them of a single token. */
function randomCuts(total: number): number[] {
  const cuts: number[] = [];
  for (let left = total; left > 0; ) {
    const n = Math.min(left, random() < 0.4 ? 1 : 1 + Math.floor(random() * 30));
    cuts.push(n);
    left -= n;
  }
  return cuts;
}

const devices = [
  { kind: "cpu", dtype: "f32", bound: 1e-5 },
  ...(inspectCuda().devices > 0
    ? ([
        { kind: "cuda", dtype: "f32", bound: 1e-5 },
        { kind: "cuda", dtype: "bf16", bound: 2e-2 },
      ] as const)
    : []),
] as const;

describe.each(devices)("on $kind in $dtype", ({ kind, dtype, bound }) => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice({ device: kind });
  });
  afterAll(() => device.close());

  describe.each(Object.entries(layouts))(`%s, seed ${seed}`, (_, { layout }) => {
    let model: StackModel;
    beforeAll(async () => {
      model = await StackModel.create(device, stackOptions(layout), seededWeights(7), {
        dtype,
        maxTokens: 512,
        slots: 8,
      });
    });
    afterAll(() => model.close());

    test("law 1: streamed in random cuts, down to one token, equals the whole run", async () => {
      for (let round = 0; round < 3; round++) {
        const tokens = 150 + Math.floor(random() * 100);
        const x = values(tokens, WIDTH);
        const whole = await model.run(x);
        const streamed = new Float32Array(tokens * WIDTH);
        const session = await model.open();
        let at = 0;
        for (const n of randomCuts(tokens)) {
          streamed.set(await model.run(x.subarray(at * WIDTH, (at + n) * WIDTH), { sessions: [session] }), at * WIDTH);
          at += n;
        }
        expect(session.position).toBe(tokens);
        session.close();
        expect(relativeRms(streamed, whole)).toBeLessThan(bound);
      }
    });

    test("law 2: a packed sequence equals itself alone", async () => {
      const lengths = [1, 37, 0, 3, 128, 65];
      const parts = lengths.map((n) => values(n, WIDTH));
      const packed = new Float32Array(lengths.reduce((a, b) => a + b) * WIDTH);
      let at = 0;
      for (const part of parts) {
        packed.set(part, at);
        at += part.length;
      }
      const together = await model.run(packed, { lengths });
      at = 0;
      for (const part of parts) {
        const alone = part.length ? await model.run(part) : new Float32Array(0);
        expect(relativeRms(together.subarray(at, at + part.length), alone)).toBeLessThan(bound);
        at += part.length;
      }
    });

    test("packed sequences keep their own states in one run", async () => {
      const lengths = [40, 25, 61];
      const x = lengths.map((n) => values(n, WIDTH));
      const sessions = await Promise.all(lengths.map(() => model.open()));
      const heads = x.map((v) => v.subarray(0, 13 * WIDTH));
      const tails = x.map((v) => v.subarray(13 * WIDTH));
      const join = (parts: Float32Array[]) => Float32Array.from(parts.flatMap((p) => [...p]));
      await model.run(join(heads), { lengths: heads.map(() => 13), sessions });
      // The sequences come back in another order: slots, not places, carry the state.
      const order = [2, 0, 1];
      const tailLengths = order.map((i) => lengths[i]! - 13);
      const out = await model.run(join(order.map((i) => tails[i]!)), {
        lengths: tailLengths,
        sessions: order.map((i) => sessions[i]!),
      });
      let at = 0;
      for (const i of order) {
        const n = tails[i]!.length;
        const whole = (await model.run(x[i]!)).subarray(13 * WIDTH);
        expect(relativeRms(out.subarray(at, at + n), whole)).toBeLessThan(bound);
        at += n;
      }
      for (const s of sessions) s.close();
    });

    test("a snapshot restores to the same bits, in the same session and in another", async () => {
      const x = values(90, WIDTH);
      const session = await model.open();
      await model.run(x.subarray(0, 33 * WIDTH), { sessions: [session] });
      const snapshot = await session.snapshot();
      const rest = x.subarray(33 * WIDTH);
      const first = await model.run(rest, { sessions: [session] });
      await session.restore(snapshot);
      expect(session.position).toBe(33);
      expect(await model.run(rest, { sessions: [session] })).toEqual(first);
      const other = await model.open();
      await other.restore(snapshot);
      expect(await model.run(rest, { sessions: [other] })).toEqual(first);
      session.close();
      other.close();
    });

    test("a fork goes on by itself", async () => {
      const [x, a, b] = [values(20, WIDTH), values(9, WIDTH), values(9, WIDTH)];
      const session = await model.open();
      await model.run(x, { sessions: [session] });
      const fork = await session.fork();
      const outA = await model.run(a, { sessions: [session] });
      const outB = await model.run(b, { sessions: [fork] });
      const wholeA = await model.run(Float32Array.of(...x, ...a));
      const wholeB = await model.run(Float32Array.of(...x, ...b));
      expect(relativeRms(outA, wholeA.subarray(20 * WIDTH))).toBeLessThan(bound);
      expect(relativeRms(outB, wholeB.subarray(20 * WIDTH))).toBeLessThan(bound);
      session.close();
      fork.close();
    });

    test("the same run twice gives the same bits", async () => {
      const x = values(200, WIDTH);
      expect(await model.run(x)).toEqual(await model.run(x));
    });
  });
});

describe("sessions", () => {
  let device: Device;
  let model: StackModel;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu" });
    model = await StackModel.create(device, stackOptions("M2 A"), seededWeights(1), { maxTokens: 256, slots: 2 });
  });
  afterAll(() => device.close());

  test("a slot that is given back starts from zero again", async () => {
    const x = values(30, WIDTH);
    const one = await model.open();
    const fresh = await model.run(x, { sessions: [one] });
    one.close();
    const two = await model.open();
    expect(await model.run(x, { sessions: [two] })).toEqual(fresh);
    two.close();
  });

  test("more sessions than slots, two runs at once and wrong snapshots are refused", async () => {
    const [a, b] = [await model.open(), await model.open()];
    await expect(model.open()).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
    const running = model.run(values(100, WIDTH), { sessions: [a] });
    await expect(model.run(values(1, WIDTH), { sessions: [a] })).rejects.toMatchObject({ code: "SESSION_NOT_READY" });
    await running;
    const snapshot = await a.snapshot();
    await expect(b.restore({ ...snapshot, layout: "another" })).rejects.toMatchObject({ code: "SNAPSHOT_MISMATCH" });
    await expect(model.run(values(300, WIDTH))).rejects.toMatchObject({ code: "RUN_TOO_LARGE" });
    await expect(model.run(values(8, WIDTH), { sessions: [a, b], lengths: [4, 4] })).resolves.toHaveLength(8 * WIDTH);
    a.close();
    b.close();
  });

  test("a cancelled run leaves a session that says so until it is restored", async () => {
    const session = await model.open();
    const start = await session.snapshot();
    const x = values(200, WIDTH);
    const abort = new AbortController();
    const run = model.run(x, { sessions: [session], signal: abort.signal });
    abort.abort();
    await expect(run).rejects.toMatchObject({ code: "ABORTED" });
    await expect(model.run(x, { sessions: [session] })).rejects.toMatchObject({ code: "SESSION_NOT_READY" });
    await session.restore(start);
    expect(await model.run(x, { sessions: [session] })).toEqual(await model.run(x));
    session.close();
  });
});
