import { StackModel, type StackOptions, seededWeights } from "@krait/nn";
import { type Device, openDevice } from "@krait/runtime";
import { relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const options: StackOptions = { width: 16, layout: "M2 A", mamba2: { stateSize: 4, headDim: 8 } };
const attention = { window: 4, sinks: 0 };
const tokens = (count: number) => Float32Array.from({ length: count * 16 }, (_, i) => Math.sin(i));
let device: Device;
const models: StackModel[] = [];

async function load(slots: number, heads = 2): Promise<StackModel> {
  const stack = { ...options, attention: { ...attention, heads } };
  models.push(await StackModel.create(device, stack, seededWeights(1), { maxTokens: 64, slots }));
  return models.at(-1)!;
}

beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 1 });
});
afterAll(async () => {
  for (const model of models) model.close();
  await device.close();
});

describe("sessions keep their state apart", () => {
  test("a slot goes back when the run on it has ended, and no sooner", async () => {
    const model = await load(1);
    const session = await model.open();
    const running = model.run(tokens(8), { sessions: [session] });
    session.close();
    await expect(model.open()).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
    await running;
    await model.open();
    await expect(model.open()).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
  });

  test("a session closed while it is restored stays closed, and its slot goes back once", async () => {
    const model = await load(1);
    const session = await model.open();
    const snapshot = await session.snapshot();
    const restoring = session.restore(snapshot);
    session.close();
    await restoring;
    await expect(session.snapshot()).rejects.toMatchObject({ code: "SESSION_NOT_READY" });
    session.close();
    await model.open();
    await expect(model.open()).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
  });

  test("no run begins while a snapshot is restored", async () => {
    const model = await load(1);
    const session = await model.open();
    const restoring = session.restore(await session.snapshot());
    const running = model.run(tokens(2), { sessions: [session] });
    await expect(running).rejects.toMatchObject({ code: "SESSION_NOT_READY" });
    await restoring;
    await model.run(tokens(2), { sessions: [session] });
    expect(session.position).toBe(2);
  });

  test("a run that never began leaves its sessions as they were", async () => {
    const model = await load(2);
    const [a, b] = [await model.open(), await model.open()];
    b.close();
    const runs = [
      model.run(tokens(2), { lengths: [1, 1], sessions: [a, a] }),
      model.run(tokens(2), { lengths: [1, 1], sessions: [a, b] }),
      model.run(tokens(2), { sessions: [a], signal: AbortSignal.abort() }),
    ];
    for (const run of runs) await expect(run).rejects.toThrow();
    await model.run(tokens(2), { sessions: [a] });
    expect(a.position).toBe(2);
  });
});

describe("runs queued behind one another", () => {
  test("give what runs one after the other give", async () => {
    const model = await load(2);
    const [one, other] = [await model.open(), await model.open()];
    const x = tokens(24);
    const pieces = [0, 5, 6, 20, 24].flatMap((to, i, all) => (i ? [x.subarray(all[i - 1]! * 16, to * 16)] : []));
    const queued = pieces.map((piece) => model.run(piece, { sessions: [one], queued: true }));
    expect(one.position).toBe(0);
    for (const [i, piece] of pieces.entries()) {
      expect(await queued[i]).toEqual(await model.run(piece, { sessions: [other] }));
    }
    expect(one.position).toBe(24);
    expect((await one.snapshot()).states).toEqual((await other.snapshot()).states);
  });

  test("give nothing when one before them did not finish", async () => {
    const model = await load(1);
    const session = await model.open();
    const abort = new AbortController();
    const first = model.run(tokens(8), { sessions: [session], queued: true, signal: abort.signal });
    const second = model.run(tokens(8), { sessions: [session], queued: true });
    abort.abort();
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    await expect(second).rejects.toMatchObject({ code: "ABORTED" });
    expect(session.position).toBe(0);
    await expect(session.snapshot()).rejects.toMatchObject({ code: "SESSION_NOT_READY" });
  });

  test("hold the slot of a closed session until the last has ended", async () => {
    const model = await load(1);
    const session = await model.open();
    const runs = [1, 2].map(() => model.run(tokens(8), { sessions: [session], queued: true }));
    session.close();
    await runs[0];
    await expect(model.open()).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
    await runs[1];
    await model.open();
  });
});

describe("snapshots that do not belong are refused and change nothing", () => {
  test("of other shapes with as many bytes", async () => {
    const [two, four] = [await load(1, 2), await load(1, 4)];
    expect(two.stateBytes).toBe(four.stateBytes);
    const [from, to] = [await two.open(), await four.open()];
    await expect(to.restore(await from.snapshot())).rejects.toMatchObject({ code: "SNAPSHOT_MISMATCH" });
    await four.run(tokens(1), { sessions: [to] });
  });

  test.each([Number.NaN, -1, 0.5])("with position %s", async (position) => {
    const model = await load(1);
    const session = await model.open();
    const snapshot = await session.snapshot();
    await expect(session.restore({ ...snapshot, position })).rejects.toMatchObject({ code: "SNAPSHOT_MISMATCH" });
    await model.run(tokens(1), { sessions: [session] });
  });

  test("with a state cut short", async () => {
    const model = await load(1);
    const session = await model.open();
    const snapshot = await session.snapshot();
    const states = Object.fromEntries(
      Object.entries(snapshot.states).map(([name, bytes]) => [name, bytes.subarray(1)]),
    );
    await expect(session.restore({ ...snapshot, states })).rejects.toMatchObject({ code: "SNAPSHOT_MISMATCH" });
    await model.run(tokens(1), { sessions: [session] });
  });
});

describe("full attention", () => {
  const stack: StackOptions = { ...options, layout: "A M2", attention: { heads: 2, window: "full" } };
  const full = async (contextTokens?: number) => {
    models.push(await StackModel.create(device, stack, seededWeights(1), { maxTokens: 64, slots: 2, contextTokens }));
    return models.at(-1)!;
  };

  test("runs whole sequences without room for their keys, and opens sessions with it alone", async () => {
    const [without, room] = [await full(), await full(40)];
    await expect(without.open()).rejects.toMatchObject({
      code: "STATE_GROWS",
      message: expect.stringContaining("contextTokens"),
    });
    const session = await room.open();
    const whole = await without.run(tokens(40));
    const parts = [0, 7, 8, 33].map((from, i, cuts) => tokens(40).subarray(from * 16, (cuts[i + 1] ?? 40) * 16));
    const streamed: number[] = [];
    for (const part of parts) streamed.push(...(await room.run(part, { sessions: [session] })));
    expect(relativeRms(streamed, whole)).toBeLessThan(1e-6);
    // The last token sees the first.
    const other = tokens(40).fill(2, 0, 16);
    expect((await without.run(other)).subarray(39 * 16)).not.toEqual(whole.subarray(39 * 16));
  });

  test("refuses the token there is no room for, and the sequence goes on from where it was", async () => {
    const model = await full(10);
    const session = await model.open();
    await model.run(tokens(8), { sessions: [session] });
    await expect(model.run(tokens(3), { sessions: [session] })).rejects.toMatchObject({ code: "CONTEXT_FULL" });
    await model.run(tokens(2), { sessions: [session] });
    expect(session.position).toBe(10);
  });

  test("a snapshot holds what was seen, and fits wherever there is room for it", async () => {
    const [small, large] = [await full(20), await full(200)];
    const session = await small.open();
    const size = async () => Object.values((await session.snapshot()).states).reduce((n, s) => n + s.byteLength, 0);
    const empty = await size();
    const perToken = 2 * 16 * 4; // keys and values of 16 numbers in f32
    await small.run(tokens(5), { sessions: [session] });
    expect(await size()).toBe(empty + 5 * perToken);
    await small.run(tokens(15), { sessions: [session] });
    expect(await size()).toBe(empty + 20 * perToken);
    const other = await large.open();
    await other.restore(await session.snapshot());
    const next = await large.run(tokens(9), { sessions: [other] });
    const all = await large.run(Float32Array.from([...tokens(5), ...tokens(15), ...tokens(9)]));
    expect(relativeRms(next, all.subarray(20 * 16))).toBeLessThan(1e-6);
    await large.run(tokens(50), { sessions: [other] });
    await expect(session.restore(await other.snapshot())).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  });

  test("a slot that is given back keeps nothing of the sequence before", async () => {
    const model = await full(64);
    const one = await model.open();
    await model.run(tokens(60), { sessions: [one] });
    one.close();
    const two = await model.open();
    const x = tokens(12);
    expect(await model.run(x, { sessions: [two] })).toEqual(await model.run(x));
  });
});

test("a model that does not fit says what it was planned to take", async () => {
  const stack = { ...options, attention: { ...attention, heads: 2 } };
  const loading = StackModel.create(device, stack, seededWeights(1), { maxTokens: 2 ** 34, slots: 2 });
  await expect(loading).rejects.toMatchObject({
    code: "OUT_OF_MEMORY",
    message: expect.stringMatching(/bytes of weights, \d+ of states and \d{12,} of working memory$/),
  });
});
