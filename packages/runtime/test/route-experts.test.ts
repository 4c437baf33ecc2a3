import { KraitError } from "@krait/core";
import { Graph, routeExperts } from "@krait/graph";
import { describe, expect, test } from "vitest";
import { type Device, inspectCuda, openDevice } from "../src/index.js";
import { generator, seed, uniform } from "./stream-op.js";

const [N, K] = [33, 3];
const variants = [
  { topK: K },
  { topK: K, normalize: true, scale: 2.5 },
  { topK: K, scoring: "sigmoid", normalize: true, groups: 11, keptGroups: 2 },
] as const;

interface Routed {
  experts: Int32Array;
  weights: Float32Array;
}

async function route(
  device: Device,
  attributes: (typeof variants)[number],
  logits: Float32Array,
  given?: Int32Array,
): Promise<Routed> {
  const graph = new Graph("route");
  const T = logits.length / N;
  const choices = given && graph.input("given", "i32", [T, K]);
  const y = routeExperts({ logits: graph.input("logits", "f32", [T, N]), given: choices }, attributes);
  graph.output("experts", y.experts);
  graph.output("weights", y.weights);
  const program = await device.load(graph);
  try {
    return (await program.run({ symbols: {}, inputs: { logits, ...(given && { given }) } })) as unknown as Routed;
  } finally {
    program.close();
  }
}

describe.each(["cpu", "cuda"] as const)(`route_experts on %s, seed ${seed}`, (kind) => {
  const next = generator(seed);
  const withDevice = (body: (device: Device) => Promise<void>) => async () => {
    const device = await openDevice({ device: kind, ...(kind === "cpu" && { threads: 3 }) });
    try {
      await body(device);
    } finally {
      await device.close();
    }
  };
  const available = kind === "cpu" || inspectCuda().devices > 0;

  for (const attributes of variants) {
    test.runIf(available)(
      `${JSON.stringify(attributes)}: the bits do not change when what was chosen is given, or nothing is`,
      withDevice(async (device) => {
        const logits = uniform(next, 2001 * N);
        const free = await route(device, attributes, logits);
        expect(await route(device, attributes, logits, free.experts)).toEqual(free);
        expect(await route(device, attributes, logits, new Int32Array(2001 * K).fill(-1))).toEqual(free);
        const mixed = free.experts.map((e, i) => (Math.floor(i / K) % 2 === 0 ? e : -1));
        expect(await route(device, attributes, logits, mixed)).toEqual(free);
      }),
    );
  }

  test.runIf(available)(
    "a flipped near tie gives the weights of the experts that are given",
    withDevice(async (device) => {
      const logits = new Float32Array(N);
      logits.set([3, 2, 1, 1 + 1e-6]);
      const free = await route(device, variants[0], logits);
      expect(Array.from(free.experts)).toEqual([0, 1, 3]);
      const replayed = await route(device, variants[0], logits, Int32Array.of(0, 1, 2));
      expect(Array.from(replayed.experts)).toEqual([0, 1, 2]);
      const total = 29 + Math.exp(3) + Math.exp(2) + 2 * Math.E;
      [3, 2, 1].forEach((x, k) => {
        expect(replayed.weights[k]).toBeCloseTo(Math.exp(x) / total, 5);
      });
    }),
  );

  test.runIf(available).each([N, -2, 2 ** 31 - 1, -(2 ** 31)])(
    "refuses the given expert %i, wherever it stands in its row",
    async (wrong) =>
      withDevice(async (device) => {
        const logits = uniform(next, 40 * N);
        for (const at of [17 * K, 33 * K + 1, 39 * K + 2]) {
          const given = new Int32Array(40 * K).map((_, i) => i % N);
          const right = await route(device, variants[0], logits, given);
          given[at] = wrong;
          const fault = await route(device, variants[0], logits, given).catch((error: unknown) => error);
          expect(KraitError.is(fault) && fault.message).toContain("route_experts");
          given[at] = at % N;
          expect(await route(device, variants[0], logits, given)).toEqual(right);
        }
        // Where a row begins with −1 nothing is given: a −1 behind another expert is none.
        const given = new Int32Array(40 * K).fill(1);
        given[5 * K + 1] = -1;
        await expect(route(device, variants[0], logits, given)).rejects.toThrow("route_experts");
      })(),
  );

  test("choices of another number than topK are no operand", () => {
    const graph = new Graph("route");
    const given = graph.input("given", "i32", [4, K + 1]);
    const call = () => routeExperts({ logits: graph.input("logits", "f32", [4, N]), given }, { topK: K });
    expect(call).toThrow("Expected as many given choices as topK");
  });
});
