import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Subsampler, seededWeights } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const [BINS, WIDTH] = [10, 24];
const values = (rows: number) => Float32Array.from({ length: rows * BINS }, () => 2 * random() - 1);
const part = (x: Float32Array, from: number, to: number) => x.subarray(from * BINS, to * BINS);

let device: Device;
const open: Subsampler[] = [];
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(async () => {
  for (const one of open) one.close();
  await device.close();
});

async function load(factor: 1 | 2 | 4 | 8, causal = true, dtype: "f32" | "bf16" = "f32"): Promise<Subsampler> {
  const options = { bins: BINS, width: WIDTH, factor, causal };
  open.push(await Subsampler.create(device, options, seededWeights(9), { maxTokens: 600, slots: 2, dtype }));
  return open.at(-1)!;
}

/** The definition: convolutions of three taps, zeros outside the signal, GELU behind each. */
async function reference(x: Float32Array, factor: number, back: number): Promise<Float64Array> {
  const weights = seededWeights(9);
  let rows = Array.from({ length: x.length / BINS }, (_, t) => Array.from(part(x, t, t + 1)));
  for (let i = 0; i <= Math.log2(factor); i++) {
    const [stride, behind, input] = i === 0 ? [1, back, BINS] : [2, 1, WIDTH];
    const init = uniform(1 / Math.sqrt(3 * input));
    const read = (name: string, shape: number[]) => {
      return weights.read({ name: `conv${i + 1}.${name}`, shape, dtype: "f32", init });
    };
    const [weight, bias] = [await read("weight", [WIDTH, input, 3]), await read("bias", [WIDTH])];
    const before = rows;
    rows = Array.from({ length: Math.ceil(before.length / stride) }, (_, f) =>
      Array.from({ length: WIDTH }, (_, n) => {
        let sum = bias[n]!;
        for (let w = 0; w < 3; w++)
          for (let c = 0; c < input; c++)
            sum += weight[(n * input + c) * 3 + w]! * (before[f * stride - behind + w]?.[c] ?? 0);
        return gelu(sum);
      }),
    );
  }
  return Float64Array.from(rows.flat());
}
const uniform = (bound: number) => (data: Float32Array, next: () => number) => {
  for (let i = 0; i < data.length; i++) data[i] = -bound + 2 * bound * next();
};
/** By the integral of its derivative's bell, in small steps. */
function gelu(x: number): number {
  const steps = 400;
  let area = 0;
  for (let i = 0; i < steps; i++) {
    const at = ((i + 0.5) / steps) * x;
    area += Math.exp((-at * at) / 2);
  }
  return x * (0.5 + (area * x) / steps / Math.sqrt(2 * Math.PI));
}

describe(`a subsampler, seed ${seed}`, () => {
  test.each([
    [1, true],
    [2, true],
    [2, false],
    [4, true],
    [8, false],
  ] as const)("by %i, causal %s, gives the convolutions of its definition at every length", async (factor, causal) => {
    const model = await load(factor, causal);
    for (const length of [1, 2, 3, 64, 127, 129]) {
      const x = values(length);
      const got = await model.run(x);
      expect(got).toHaveLength(Math.ceil(length / factor) * WIDTH);
      expect(relativeRms(got, await reference(x, factor, causal ? 2 : 1)), `${length} rows`).toBeLessThan(1e-5);
    }
  });

  test("in bf16 it stays within 1e-2", async () => {
    const x = values(129);
    expect(relativeRms(await (await load(4, true, "bf16")).run(x), await reference(x, 4, 2))).toBeLessThan(1e-2);
  });

  test.each([1, 2, 4, 8] as const)("by %i: a stream in whole strides equals the whole signal", async (factor) => {
    const model = await load(factor);
    const x = values(531);
    const whole = await model.run(x);
    for (const strides of [1, 2, 3, 16]) {
      const session = await model.open();
      const got: number[] = [];
      for (let at = 0; at < 531; at += strides * factor) {
        const to = Math.min(531, at + strides * factor);
        got.push(...(await model.run(part(x, at, to), { sessions: [session] })));
      }
      session.close();
      expect(got).toHaveLength(whole.length);
      expect(relativeRms(got, whole), `${strides} strides`).toBeLessThan(1e-6);
    }
  });

  test("a packed signal equals itself alone, and states find their signals in another order", async () => {
    const model = await load(4);
    const signals = [values(40), values(127), values(8)];
    const packed = await model.run(Float32Array.from(signals.flatMap((x) => [...x])), { lengths: [40, 127, 8] });
    const alone = await Promise.all(signals.map((x) => model.run(x)));
    expect(relativeRms(packed, Float32Array.from(alone.flatMap((x) => [...x])))).toBeLessThan(1e-6);
    const [a, b] = [await model.open(), await model.open()];
    const [x, y] = signals as [Float32Array, Float32Array];
    await model.run(Float32Array.from([...part(x, 0, 8), ...part(y, 0, 12)]), { lengths: [8, 12], sessions: [a, b] });
    const rest = [...part(y, 12, 127), ...part(x, 8, 40)];
    const got = await model.run(Float32Array.from(rest), { lengths: [115, 32], sessions: [b, a] });
    const want = Float32Array.from([...alone[1]!.subarray(3 * WIDTH), ...alone[0]!.subarray(2 * WIDTH)]);
    expect(relativeRms(got, want)).toBeLessThan(1e-6);
    a.close();
    b.close();
  });

  test("a part behind one that ended within a stride is refused, and one that looks ahead opens no sessions", async () => {
    const model = await load(2);
    const session = await model.open();
    await model.run(values(3), { sessions: [session] });
    await expect(model.run(values(2), { sessions: [session] })).rejects.toMatchObject({ code: "PART_NOT_WHOLE" });
    session.close();
    await expect((await load(2, false)).open()).rejects.toMatchObject({ code: "NOT_CAUSAL" });
    const wrong = Subsampler.create(device, { bins: 4, width: 4, factor: 3 as 2 }, seededWeights(0));
    await expect(wrong).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
