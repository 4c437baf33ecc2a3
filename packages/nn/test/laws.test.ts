import { type Device, inspectCuda, openDevice } from "@krait/runtime";
import { generator } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkLaws, lawLayouts, lawStack } from "../src/conformance/index.js";
import { StackModel, seededWeights } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const WIDTH = 64;
const values = (tokens: number, width: number) => Float32Array.from({ length: tokens * width }, () => 2 * random() - 1);

const devices = [
  { kind: "cpu", dtype: "f32", available: true },
  { kind: "cpu", dtype: "bf16", available: true },
  { kind: "cuda", dtype: "f32", available: inspectCuda().devices > 0 },
  { kind: "cuda", dtype: "bf16", available: inspectCuda().devices > 0 },
] as const;

for (const { kind, dtype, available } of devices) {
  describe.skipIf(!available)(`laws on ${kind} in ${dtype}, seed ${seed}`, () => {
    let device: Device;
    beforeAll(async () => {
      device = await openDevice({ device: kind });
    });
    afterAll(() => device.close());

    test.for(Object.entries(lawLayouts))("%s", { timeout: 300_000 }, async ([, layout], { annotate }) => {
      for (const { law, error, bound } of await checkLaws(device, layout, dtype, seed)) {
        if (law.startsWith("the share of")) await annotate(`${law}: ${error}`);
        expect(error, law).toBeLessThanOrEqual(bound);
      }
    });
  });
}

describe("sessions", () => {
  let device: Device;
  let model: StackModel;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu" });
    model = await StackModel.create(device, lawStack("M2 A"), seededWeights(1), { maxTokens: 256, slots: 2 });
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
