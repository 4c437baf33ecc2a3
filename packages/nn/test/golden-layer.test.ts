import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "@krait/formats";
import { type Device, openDevice } from "@krait/runtime";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkParity, readLayer } from "../src/index.js";
import type { LayerKind } from "../src/layers/layer.js";
import { mamba1 } from "../src/layers/mamba1.js";
import { mamba2 } from "../src/layers/mamba2.js";
import { mamba3 } from "../src/layers/mamba3.js";

let device: Device;
let root: string;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
  root = await mkdtemp(join(tmpdir(), "krait-golden-layer-"));
});
afterAll(async () => {
  await device.close();
  await rm(root, { recursive: true, force: true });
});

const golden = (name: string) => fileURLToPath(new URL(`fixtures/${name}.safetensors`, import.meta.url));

test.each([
  ["golden-mamba1", "mamba1", {}],
  ["golden-mamba2", "mamba2", {}],
  ["golden-mamba2-groups", "mamba2", { groups: 2 }],
  ["golden-mamba3", "mamba3", {}],
  ["golden-mamba3-outnorm", "mamba3", {}],
])("%s equals its reference by what the file alone says", async (name, family, layer) => {
  const report = await checkParity(device, "", golden(name), { layer });
  expect(report).toMatchObject({ family, ok: true, greedyEqual: true });
  expect(report.cases.map((c) => c.tokens)).toEqual([1, 33, 200]);
});

test("the other activation of A and another number of groups are other layers", async () => {
  const softplus = await checkParity(device, "", golden("golden-mamba3"), { layer: { aActivation: "softplus" } });
  expect(softplus.ok).toBe(false);
  expect((await checkParity(device, "", golden("golden-mamba2-groups"))).ok).toBe(false);
});

async function write(layer: LayerKind, options: object, width: number): Promise<string> {
  const tensors: Record<string, TensorToWrite> = {};
  for (const { name, shape } of layer.parameters(layer.schema.parse(options), { width, layerCount: 1 })) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    tensors[`param.${name}`] = { dtype: "f32", shape, data };
  }
  const path = join(root, `${Math.random()}.safetensors`);
  await writeSafetensors(path, tensors);
  return path;
}

describe("sizes are read off the shapes", () => {
  const table: [LayerKind, object, number][] = [
    [mamba1, { stateSize: 5, dtRank: 3, convWidth: 2, convBias: false }, 24],
    [mamba1, { innerWidth: 40, bias: true }, 16],
    [mamba2, { stateSize: 24, headDim: 8, convWidth: 3, channelD: true }, 32],
    [mamba2, { stateSize: 8, headDim: 16, norm: "none", bias: true }, 32],
    [mamba3, { stateSize: 6, headDim: 8, groups: 4 }, 32],
    [mamba3, { stateSize: 7, headDim: 8, groups: 2, ropeFraction: 1, outNorm: true }, 32],
    [mamba3, { stateSize: 34, headDim: 16, innerWidth: 48, bias: true }, 32],
  ];
  test.each(table)("$name %j of width %i", async (layer, options, width) => {
    const file = await openSafetensors(await write(layer, options, width));
    const parsed = layer.schema.parse(options);
    const shell = { width, layerCount: 1 };
    const read = readLayer(file);
    expect(read.kind).toBe(layer.name);
    const shapes = (specs: readonly { name: string; shape: readonly number[] }[]) =>
      specs.map((s) => [s.name, s.shape]);
    expect(shapes(read.parameters)).toEqual(shapes(layer.parameters(parsed, shell)));
    expect(shapes(read.states)).toEqual(shapes(layer.states(parsed, shell)));
    await file.close();
  });
});

test("files that hold no whole layer, or no cases, are refused by the tensor", async () => {
  const fails = async (change: (tensors: Record<string, TensorToWrite>) => unknown, code: string, message: string) => {
    const file = await openSafetensors(golden("golden-mamba3"));
    const tensors: Record<string, TensorToWrite> = {};
    for (const [name, { shape }] of file.tensors)
      tensors[name] = { dtype: "f32", shape, data: await file.readFloat32(name) };
    await file.close();
    change(tensors);
    const path = join(root, `${Math.random()}.safetensors`);
    await writeSafetensors(path, tensors);
    const failure = { code, message: expect.stringContaining(message) };
    await expect(checkParity(device, "", path)).rejects.toMatchObject(failure);
  };
  await fails((t) => void delete t["param.D"], "TENSOR_MISSING", "param.D");
  await fails((t) => void delete t["param.out_proj.weight"], "GOLDEN_INVALID", "param.out_proj.weight");
  await fails((t) => Object.assign(t, { "param.norm.bias": t["param.D"] }), "TENSOR_UNEXPECTED", "param.norm.bias");
  await fails((t) => void (t["param.B_bias"]!.shape as number[]).reverse(), "TENSOR_SHAPE", "param.B_bias");
  await fails((t) => void delete t["L33.y"], "GOLDEN_INVALID", "L33.y");
  await fails((t) => (t["param.D"]!.data as Float32Array).fill(Number.NaN, 1, 2), "WEIGHT_NOT_FINITE", "tensor D");
  await fails(
    (t) => {
      for (const name of Object.keys(t)) if (name.endsWith(".x")) delete t[name];
    },
    "GOLDEN_INVALID",
    "L{n}.x",
  );
});
