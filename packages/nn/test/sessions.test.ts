import { StackModel, type StackOptions, seededWeights } from "@krait/nn";
import { type Device, openDevice } from "@krait/runtime";
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

test("a model that does not fit says what it was planned to take", async () => {
  const stack = { ...options, attention: { ...attention, heads: 2 } };
  const loading = StackModel.create(device, stack, seededWeights(1), { maxTokens: 2 ** 34, slots: 2 });
  await expect(loading).rejects.toMatchObject({
    code: "OUT_OF_MEMORY",
    message: expect.stringMatching(/bytes of weights, \d+ of states and \d{12,} of working memory$/),
  });
});
