import { fileURLToPath } from "node:url";
import { openSafetensors } from "@krait/formats";
import { linear, trace, unfoldPatches } from "@krait/graph";
import { afterAll, describe, expect, it } from "vitest";
import { pixelScale, videoTokenSource } from "../../src/video/index.js";
import { devices, random, relativeRms } from "../devices.js";

const file = await openSafetensors(fileURLToPath(new URL("../fixtures/video/golden.safetensors", import.meta.url)));
afterAll(() => file.close());

/** Frames [V, tubelet, H, W, 3] to tokens [V · patches, D] by a Conv3d weight. */
async function embed(
  open: (typeof devices)[number][1],
  frames: Float32Array | Uint8Array,
  [tubelet, height, width]: [number, number, number],
  weight: Float32Array,
  bias: Float32Array,
  { scale, shift }: { scale: Float32Array; shift: Float32Array },
): Promise<Float32Array> {
  const device = await open();
  const D = bias.length;
  const V = frames.length / (tubelet * height * width * 3);
  const graph = trace("embed", (g) => {
    const dtype = frames instanceof Uint8Array ? "u8" : "f32";
    const x = g.input("frames", dtype, [g.symbol("V", V), tubelet, height, width, 3]);
    const y = unfoldPatches(
      { frames: x, scale: g.input("scale", "f32", [3]), shift: g.input("shift", "f32", [3]) },
      { patch: 16 },
    ).y;
    const columns = weight.length / D;
    g.output(
      "tokens",
      linear({ x: y, weight: g.parameter("weight", "f32", [D, columns]), bias: g.parameter("bias", "f32", [D]) }).y,
    );
  });
  const buffers = { weight: await device.upload(weight), bias: await device.upload(bias) };
  const program = await device.load(graph, { buffers });
  try {
    const { tokens } = await program.run({ symbols: { V }, inputs: { frames, scale, shift } });
    return tokens as Float32Array;
  } finally {
    program.close();
    for (const buffer of Object.values(buffers)) buffer.close();
    await device.close();
  }
}

describe.each(devices)("tubelet embeddings on %s", (_, open) => {
  it.each([1, 2])("are Conv3d's with tubelets of %i", async (tubelet) => {
    const input = await file.readFloat32("input_CTHW");
    const [C, T, H, W] = file.tensors.get("input_CTHW")!.shape as [number, number, number, number];
    const frames = Float32Array.from(
      { length: input.length },
      (_, i) => input[(i % C) * T * H * W + Math.floor(i / C)]!,
    );
    const weight = await file.readFloat32(`tubelet${tubelet}.weight`);
    const bias = await file.readFloat32(`tubelet${tubelet}.bias`);
    const one = { scale: new Float32Array(3).fill(1), shift: new Float32Array(3) };
    const tokens = await embed(open, frames, [tubelet, H, W], weight, bias, one);
    expect(relativeRms(tokens, await file.readFloat32(`tubelet${tubelet}.tokens`))).toBeLessThan(1e-5);
  });

  it("put a source's block in the order of its rows and columns, with pixels scaled as (x / 255 − mean) / std", async () => {
    const rng = random(1);
    const [width, height] = [48, 32];
    const pixels = Uint8Array.from({ length: width * height * 3 }, () => Math.floor(rng() * 256));
    async function* parts() {
      yield { pixels, width, height, start: 0, end: 1 };
    }
    // Each output channel picks one pixel of the patch: channel c, frame t, place (y, x).
    const picks = [
      [0, 0, 0, 0],
      [1, 1, 3, 7],
      [2, 0, 15, 15],
    ] as const;
    const weight = new Float32Array(3 * 3 * 2 * 256);
    picks.forEach(([c, t, y, x], d) => {
      weight[(((d * 3 + c) * 2 + t) * 16 + y) * 16 + x] = 1;
    });
    const mean = [0.485, 0.456, 0.406];
    const std = [0.229, 0.224, 0.225];
    for await (const { count, row, column, payload } of videoTokenSource({
      parts: parts(),
      tubelet: 2,
      width,
      height,
    })) {
      const frames = payload.frames;
      const tokens = await embed(open, frames, [2, height, width], weight, new Float32Array(3), pixelScale("imagenet"));
      expect(count).toBe(6);
      const wanted = Array.from({ length: count }, (_, i) =>
        picks.map(([c, , y, x]) => {
          const value = pixels[((row[i]! * 16 + y) * width + column[i]! * 16 + x) * 3 + c]!;
          return (value / 255 - mean[c]!) / std[c]!;
        }),
      ).flat();
      expect(relativeRms(tokens, wanted)).toBeLessThan(1e-6);
    }
  });
});

describe("pixelScale", () => {
  it("knows the published statistics", () => {
    const { scale, shift } = pixelScale("half");
    expect([0, 255].map((x) => x * scale[0]! + shift[0]!)).toEqual([-1, expect.closeTo(1, 6)]);
    const clip = pixelScale("clip");
    const own = pixelScale({ mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] });
    expect(clip).toEqual(own);
    expect(100 * own.scale[1]! + own.shift[1]!).toBeCloseTo((100 / 255 - 0.4578275) / 0.26130258, 5);
  });

  it("refuses what is no statistic", () => {
    for (const bad of [
      "toString",
      "vgg",
      undefined,
      { mean: [0, 0, 0] },
      { mean: [0, 0, 0], std: [1, 0, 1] },
      { mean: [0, 0], std: [1, 1] },
      { mean: [0, Number.NaN, 0], std: [1, 1, 1] },
    ]) {
      expect(() => pixelScale(bad as never)).toThrow(
        expect.objectContaining({ kind: "usage", code: "INVALID_OPTION" }),
      );
    }
  });
});
