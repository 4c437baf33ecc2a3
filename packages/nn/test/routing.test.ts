import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  type Choices,
  checkParity,
  countFlips,
  loadCausalModel,
  StackModel,
  type StackOptions,
  seededWeights,
  type WeightSource,
} from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const folder = fileURLToPath(new URL("fixtures/models/nemotron_h_moe", import.meta.url));
const golden = join(folder, "golden.safetensors");
const WIDTH = 32;
const options: StackOptions = {
  width: WIDTH,
  layout: "M2 E E",
  mamba2: { stateSize: 8, headDim: 16 },
  moe: { experts: 7, topK: 2, hidden: 24, normalize: true, scale: 2 },
};
const values = (tokens: number) => Float32Array.from({ length: tokens * WIDTH }, () => 2 * random() - 1);

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(() => device.close());

async function withStack(
  body: (model: StackModel) => Promise<void>,
  { source = seededWeights(5), routing = true }: { source?: WeightSource; routing?: boolean } = {},
): Promise<void> {
  const model = await StackModel.create(device, options, source, { maxTokens: 256, slots: 2, routing });
  try {
    await body(model);
  } finally {
    model.close();
  }
}

/** The same weights, with noise in the routers that turns choices which are nearly ties. */
function noisyRouters(noise: number): WeightSource {
  const source = seededWeights(5);
  return {
    ...source,
    read: async (spec, signal) => {
      const data = await source.read(spec, signal);
      return spec.name.endsWith("router.weight") ? data.map((w) => w + noise * (2 * random() - 1)) : data;
    },
  };
}

describe(`choices of experts, seed ${seed}`, () => {
  test("a router with noise flips choices; with the choices of the one without it the features stay close", async () => {
    const x = values(200);
    let want: Float32Array | undefined;
    let chosen: Choices | undefined;
    await withStack(async (model) => {
      const { features, choices } = await model.runRouted(x);
      [want, chosen] = [features, choices[0]];
    });
    await withStack(
      async (model) => {
        const free = await model.runRouted(x);
        const { flipped, of } = countFlips(chosen!, free.choices[0]!, model.routed);
        expect(of).toBe(2 * 200);
        expect(flipped).toBeGreaterThan(0);
        const replayed = await model.runRouted(x, { choices: [chosen] });
        expect(replayed.choices).toEqual([chosen]);
        expect(relativeRms(free.features, want!)).toBeGreaterThan(5 * relativeRms(replayed.features, want!));
        expect(relativeRms(replayed.features, want!)).toBeLessThan(1e-2);
      },
      { source: noisyRouters(5e-3) },
    );
  });

  test("each sequence of a pack takes its own, and one that is given none chooses", async () => {
    await withStack(async (model) => {
      const x = values(60);
      const [name] = model.routed.map((layer) => layer.name);
      const free = await model.runRouted(x, { lengths: [20, 0, 40] });
      expect(free.choices.map((c) => c[name!]!.length)).toEqual([40, 0, 80]);
      const others = free.choices[2]![name!]!.map((e) => (e + 1) % 7);
      const some = await model.runRouted(x, { lengths: [20, 0, 40], choices: [undefined, {}, { [name!]: others }] });
      expect(some.choices[0]).toEqual(free.choices[0]);
      expect(some.choices[2]![name!]).toEqual(others);
      const rows = (data: Float32Array, from: number, to: number) => data.subarray(from * WIDTH, to * WIDTH);
      expect(rows(some.features, 0, 20)).toEqual(rows(free.features, 0, 20));
      expect(relativeRms(rows(some.features, 20, 60), rows(free.features, 20, 60))).toBeGreaterThan(0.05);
    });
  });

  test("without the option a program has neither inputs nor outputs nor ops more, and gives the same bits", async () => {
    const x = values(70);
    const load = vi.spyOn(device, "load");
    try {
      const features: Float32Array[] = [];
      for (const routing of [false, true])
        await withStack(async (model) => void features.push(await model.run(x)), { routing });
      expect(features[0]).toEqual(features[1]);
      const [without, routed] = load.mock.calls.map(([graph]) => graph);
      expect(without!.nodes.length).toBe(routed!.nodes.length);
      expect(without!.nodes.filter((n) => n.op.name === "route_experts").map((n) => n.inputs.given)).toEqual([
        undefined,
        undefined,
      ]);
      const extra = [...routed!.bindings.keys()].filter((name) => !without!.bindings.has(name));
      expect(extra).toEqual(
        [1, 2]
          .map((i) => `backbone.layers.${i}.mixer.given`)
          .concat([1, 2].map((i) => `backbone.layers.${i}.mixer.chosen`)),
      );
      expect(without!.bindings.size).toBe(routed!.bindings.size - 4);
    } finally {
      load.mockRestore();
    }
  });

  test("wrong choices are refused before a session is touched", async () => {
    await withStack(async (model) => {
      const { name } = model.routed[0]!;
      const session = await model.open();
      const wrong = [
        { other: new Int32Array(20) },
        { [name]: new Int32Array(19) },
        { [name]: Int32Array.of(...Array(19).fill(0), 7) },
      ];
      for (const choices of wrong) {
        const run = model.run(values(10), { sessions: [session], choices: [choices] });
        await expect(run).rejects.toMatchObject({ code: "INVALID_OPTION" });
      }
      await model.run(values(10), { sessions: [session] });
      expect(session.position).toBe(10);
      session.close();
    });
    await withStack(
      async (model) => {
        const run = model.run(values(10), { choices: [{ "backbone.layers.1.mixer": new Int32Array(20) }] });
        await expect(run).rejects.toMatchObject({ code: "INVALID_OPTION" });
      },
      { routing: false },
    );
  });

  test("a causal model gives the same logits with its own choices, whole and in pieces, and generates", async () => {
    const model = await loadCausalModel(device, folder, { maxTokens: 64, maxLogits: 64, routing: true, stepsAhead: 2 });
    try {
      const ids = Array.from({ length: 50 }, () => Math.floor(random() * 100));
      const [whole] = await model.runRouted([{ ids, logits: "all" }]);
      const layers = Object.keys(whole!.choices);
      expect(layers.length).toBeGreaterThan(0);
      const [again] = await model.runRouted([{ ids, logits: "all", choices: whole!.choices }]);
      expect(again).toEqual(whole);
      const session = await model.open();
      const part = (from: number, to: number) =>
        Object.fromEntries(
          layers.map((name) => [
            name,
            whole!.choices[name]!.subarray(
              (from * whole!.choices[name]!.length) / 50,
              (to * whole!.choices[name]!.length) / 50,
            ),
          ]),
        );
      const logits: number[] = [];
      for (const [from, to] of [
        [0, 7],
        [7, 8],
        [8, 50],
      ] as const) {
        const input = { ids: ids.slice(from, to), session, logits: "all", choices: part(from, to) } as const;
        logits.push(...(await model.run([input]))[0]!);
      }
      session.close();
      expect(relativeRms(logits, whole!.logits)).toBeLessThan(1e-5);
      const other = await model.open();
      await model.prefill(ids.slice(0, 49), other);
      const steps = await model.greedySteps([other], Int32Array.of(ids[49]!));
      const best = whole!.logits.subarray(-model.description.vocabularySize);
      expect((await steps.next(1))[0]).toBe(best.indexOf(Math.max(...best)));
      other.close();
    } finally {
      model.close();
    }
  });
});

describe("parity in bf16", () => {
  test("sends tokens to the experts of the f32 run, and tells the error without and the flips", async () => {
    const report = await checkParity(device, folder, golden, { dtype: "bf16", bound: 1e-2 });
    expect(report.ok).toBe(true);
    expect(report.maxRelRmsFree).toBeGreaterThan(3e-2);
    const flips = report.cases.map(({ sequences, tokens, flippedShare }) => flippedShare! * sequences * tokens * 2);
    const count = flips.reduce((sum, n) => sum + n, 0);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(12);
    expect(count).toBeCloseTo(Math.round(count), 9);
    expect(report.flippedShare).toBeCloseTo(count / (2 * (1 + 74 + 200)), 12);
    for (const { relRms, relRmsFree, flippedShare } of report.cases) {
      if (flippedShare === 0) expect(relRms).toBe(relRmsFree);
      else expect(relRmsFree).toBeGreaterThan(2 * relRms);
    }
  });

  test("in f32, and without experts, says nothing of a replay", async () => {
    const load = vi.spyOn(device, "load");
    const dense = folder.replace("nemotron_h_moe", "bamba_sharded");
    const reports = [
      await checkParity(device, folder, golden),
      await checkParity(device, dense, join(dense, "golden.safetensors"), { dtype: "bf16" }),
    ];
    for (const report of reports) {
      for (const row of [report, ...report.cases]) expect(Object.keys(row).join()).not.toMatch(/Free|flipped/);
    }
    expect(load).toHaveBeenCalledTimes(2);
    load.mockRestore();
  });
});
