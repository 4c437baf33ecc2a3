import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Stack, StackModel, type StackOptions, seededWeights } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const WIDTH = 32;
const heads = { heads: 4, keyHeads: 2, window: 8, sinks: 1 };
const values = (tokens: number) => Float32Array.from({ length: tokens * WIDTH }, () => 2 * random() - 1);
const row = (x: Float32Array, t: number) => x.subarray(t * WIDTH, (t + 1) * WIDTH);

let device: Device;
const models: StackModel[] = [];
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(async () => {
  for (const model of models) model.close();
  await device.close();
});

async function load(options: StackOptions, dtype: "f32" | "bf16" = "f32"): Promise<StackModel> {
  const stack = { width: WIDTH, mamba2: { stateSize: 8, headDim: 16 }, ...options };
  models.push(await StackModel.create(device, stack, seededWeights(3), { maxTokens: 256, slots: 3, dtype }));
  return models.at(-1)!;
}

/** Which rows of the features change when token t does. */
async function reached(model: StackModel, x: Float32Array, t: number, globals: number[]): Promise<number[]> {
  const other = x.slice();
  row(other, t).fill(3);
  const [a, b] = [await model.run(x, { globals: [globals] }), await model.run(other, { globals: [globals] })];
  return Array.from({ length: x.length / WIDTH }, (_, i) => i).filter((i) => relativeRms(row(a, i), row(b, i)) > 1e-6);
}
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe(`global tokens, seed ${seed}`, () => {
  test("a causal layer lets every later token see them, and none before", async () => {
    const model = await load({ layout: "A", attention: { ...heads, globalTokens: 4 } });
    const x = values(60);
    expect(await reached(model, x, 20, [5, 20])).toEqual(range(20, 60));
    expect(await reached(model, x, 21, [5, 20])).toEqual(range(21, 29));
  });

  test("a bidirectional layer lets them see and be seen by all; others see their window on both sides", async () => {
    const model = await load({
      layout: "A",
      attention: { ...heads, sinks: 0, direction: "bidirectional", globalTokens: 4 },
    });
    const x = values(60);
    expect(await reached(model, x, 20, [20])).toEqual(range(0, 60));
    expect(await reached(model, x, 21, [40])).toEqual([...range(14, 29), 40]);
    const lopsided = await load({
      layout: "A",
      attention: { ...heads, sinks: 0, direction: "bidirectional", windowAhead: 2 },
    });
    expect(await reached(lopsided, x, 21, [])).toEqual(range(19, 29));
    const full = await load({ layout: "A", attention: { ...heads, window: "full", direction: "bidirectional" } });
    expect(await reached(full, x, 33, [])).toEqual(range(0, 60));
  });

  test.each([
    ["f32", 1e-5],
    ["bf16", 2e-2],
  ] as const)("are kept by sessions, snapshots and forks, in %s", async (dtype, bound) => {
    const model = await load({ layout: "A M2 A", attention: { ...heads, globalTokens: 6 } }, dtype);
    const x = values(150);
    const globals = [0, 3, 40, 41, 99, 120];
    const whole = await model.run(x, { globals: [globals] });
    for (const cuts of [
      [0, 1, 2, 40, 41, 100, 150],
      [0, 127, 150],
      [0, 3, 129, 130, 150],
    ]) {
      const session = await model.open();
      const got: number[] = [];
      let current = session;
      for (let i = 0; i + 1 < cuts.length; i++) {
        const [from, to] = [cuts[i]!, cuts[i + 1]!];
        const places = globals.filter((g) => g >= from && g < to).map((g) => g - from);
        const part = x.subarray(from * WIDTH, to * WIDTH);
        got.push(...(await model.run(part, { sessions: [current], globals: [places] })));
        // Goes on in a copy each time.
        const next = await current.fork();
        current.close();
        current = next;
      }
      current.close();
      expect(relativeRms(got, whole), `cuts ${cuts}`).toBeLessThan(bound);
    }
  });

  test("a packed sequence with them equals itself alone", async () => {
    const model = await load({ layout: "Ax2", attention: { ...heads, direction: "bidirectional", globalTokens: 4 } });
    const parts = [values(30), values(1), values(77)];
    const globals = [[2, 29], [0], [10, 11, 76]];
    const all = Float32Array.from(parts.flatMap((p) => [...p]));
    const packed = await model.run(all, { lengths: [30, 1, 77], globals });
    let at = 0;
    for (const [i, part] of parts.entries()) {
      const alone = await model.run(part, { globals: [globals[i]!] });
      expect(relativeRms(packed.subarray(at, at + part.length), alone)).toBeLessThan(1e-6);
      at += part.length;
    }
  });

  test("more than a layer keeps, and places that are none, are refused; the session goes on", async () => {
    const model = await load({ layout: "A", attention: { ...heads, globalTokens: 2 } });
    const session = await model.open();
    const run = (places: number[]) => model.run(values(5), { sessions: [session], globals: [places] });
    await run([1]);
    await expect(run([0, 4])).rejects.toMatchObject({ code: "TOO_MANY_GLOBALS" });
    for (const places of [[5], [-1], [0.5]])
      await expect(run(places)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await run([4]);
    await expect(run([0])).rejects.toMatchObject({ code: "TOO_MANY_GLOBALS" });
    const again = await model.open();
    await again.restore(await session.snapshot());
    const more = model.run(values(5), { sessions: [again], globals: [[0]] });
    await expect(more).rejects.toMatchObject({ code: "TOO_MANY_GLOBALS" });
    const plain = await load({ layout: "A", attention: heads });
    await expect(plain.run(values(5), { globals: [[0]] })).rejects.toMatchObject({ code: "TOO_MANY_GLOBALS" });
  });

  test("a stack that looks ahead opens no sessions", async () => {
    const model = await load({ layout: "M2 A", attention: { ...heads, direction: "bidirectional" } });
    await expect(model.open()).rejects.toMatchObject({ code: "NOT_CAUSAL" });
    expect(model.stack.isCausal).toBe(false);
  });

  test("options that contradict each other are refused by name", () => {
    const wrong: [NonNullable<StackOptions>["attention"], RegExp][] = [
      [{ windowAhead: 3 }, /attention\.windowAhead/],
      [{ direction: "bidirectional", convWidth: 4 }, /attention\.convWidth/],
    ];
    for (const [attention, message] of wrong)
      expect(() => new Stack({ width: WIDTH, layout: "A", attention })).toThrow(message);
  });
});
