import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Stack, StackModel, type StackOptions, seededWeights } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const WIDTH = 48;

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(() => device.close());

const mamba = { stateSize: 8, headDim: 16, groups: 2, chunkSize: 8 };
const heads = { heads: 3, keyHeads: 1, window: 7, sinks: 1 };
const stacks: Record<string, StackOptions> = {
  "gated and plain MLPs": {
    layout: "A G A F",
    attention: heads,
    gatedMlp: { hidden: 40, bias: true },
    mlp: { hidden: 56, bias: true },
  },
  "mixture of experts": {
    layout: "A E E",
    attention: heads,
    moe: {
      experts: 6,
      topK: 2,
      hidden: 20,
      scoring: "sigmoid",
      normalize: true,
      correction: true,
      sharedHidden: 24,
      sharedBias: true,
    },
  },
  "grouped routing": {
    layout: "E",
    moe: { experts: 8, topK: 3, hidden: 20, groups: 4, keptGroups: 2, gated: false, activation: "relu2" },
  },
  parallel: {
    layout: "Hx2",
    parallel: { mamba: { ...mamba, norm: "none", bias: true }, attention: { ...heads, scale: 0.3, bias: true } },
  },
  "layer norms": { layout: "A G M2", norm: "layer", attention: heads, gatedMlp: { hidden: 40 }, mamba2: mamba },
  "convolved attention": { layout: "Ax2", attention: { ...heads, convWidth: 4 } },
  "norms on the selection": { layout: "M1x2", mamba1: { stateSize: 8, selectionNorms: true, bias: true } },
  "Mamba-2 with the norm before the gate": {
    layout: "M2",
    mamba2: { ...mamba, innerWidth: 64, normBeforeGate: true, normGroups: 1, channelD: true },
  },
};

// Each takes part in the features, keeps what it carries over any cuts, and does not see its neighbours in a pack.
test.each(Object.entries(stacks))(`%s: streamed, packed and whole agree, seed ${seed}`, async (_, options) => {
  const model = await StackModel.create(device, { width: WIDTH, ...options }, seededWeights(3), { maxTokens: 256 });
  const values = (tokens: number) => Float32Array.from({ length: tokens * WIDTH }, () => 2 * random() - 1);
  const x = values(61);
  const whole = await model.run(x);
  expect(whole.every(Number.isFinite)).toBe(true);
  const session = await model.open();
  const parts: number[] = [];
  for (const [from, to] of [
    [0, 1],
    [1, 2],
    [2, 19],
    [19, 22],
    [22, 61],
  ] as const)
    parts.push(...(await model.run(x.subarray(from * WIDTH, to * WIDTH), { sessions: [session] })));
  expect(relativeRms(Float32Array.from(parts), whole)).toBeLessThan(1e-5);
  const other = values(30);
  const packed = await model.run(Float32Array.from([...other, ...x]), { lengths: [30, 61] });
  expect(relativeRms(packed.subarray(30 * WIDTH), whole)).toBeLessThan(1e-5);
  model.close();
});

test.each(["f32", "bf16"] as const)(
  "with layer norms the features have mean 0 and variance 1, in %s",
  async (dtype) => {
    const options = { width: WIDTH, layout: "M2 F", norm: "layer", mamba2: mamba, mlp: { hidden: 56 } } as const;
    const model = await StackModel.create(device, options, seededWeights(3), { maxTokens: 64, dtype });
    // Far from zero: what only divided by the root mean square would keep its mean.
    const x = Float32Array.from({ length: 50 * WIDTH }, () => 3 + random());
    const features = await model.run(x);
    for (let t = 0; t < 50; t++) {
      const row = Array.from(features.subarray(t * WIDTH, (t + 1) * WIDTH));
      const mean = row.reduce((a, b) => a + b, 0) / WIDTH;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / WIDTH;
      expect(Math.abs(mean)).toBeLessThan(1e-5);
      expect(Math.abs(variance - 1)).toBeLessThan(1e-3);
    }
    model.close();
  },
);

test("a layer norm's tensors are its weight and its bias, a root mean square's its weight", () => {
  const names = (norm: "rms" | "layer") =>
    new Stack({ width: WIDTH, layout: "F", norm })
      .blueprint()
      .parameters.map((p) => p.name)
      .filter((name) => name.includes("norm"));
  expect(names("rms")).toEqual(["backbone.layers.0.norm.weight", "backbone.norm_f.weight"]);
  expect(names("layer")).toEqual([
    "backbone.layers.0.norm.weight",
    "backbone.layers.0.norm.bias",
    "backbone.norm_f.weight",
    "backbone.norm_f.bias",
  ]);
});

test("options that do not fit are refused by name", () => {
  const wrong: [StackOptions, RegExp][] = [
    [{ layout: "E", moe: { experts: 4, topK: 5 } }, /moe\.topK/],
    [{ layout: "E", moe: { experts: 5, groups: 2 } }, /moe\.groups/],
    [{ layout: "E", moe: { experts: 8, groups: 4, keptGroups: 5 } }, /moe\.keptGroups/],
    [{ layout: "M2", mamba2: { ...mamba, normGroups: 7 } }, /mamba2\.normGroups/],
    [{ layout: "H", parallel: { mamba, attention: { heads: 7 } } }, /attention\.heads/],
  ];
  for (const [options, message] of wrong) expect(() => new Stack({ width: WIDTH, ...options })).toThrow(message);
});
