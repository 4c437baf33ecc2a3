// What becomes of weights on their way from files to a device: their bits, their faults, and the memory that they take.
import { readFileSync } from "node:fs";
import { mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Device, type DeviceBuffer, openDevice } from "@krait/runtime";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ModelFolder, mapWeights, openModelFolder } from "../src/checkpoints/index.js";

// Three tensors of 80 MB: more than goes to the device in one call, and more than a process needs for itself.
const COUNT = 40_000_001;
const names = ["a", "b", "c"];
const specs = names.map((name) => ({ name, shape: [COUNT], dtype: "weight", init: () => {} }) as const);
const tensors = specs.map((spec) => ({ ...spec, parts: [{ tensor: spec.name, shape: [COUNT] }] }));

let device: Device;
let path: string;
let folder: string;
let files: ModelFolder;
let buffers: DeviceBuffer[];
beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 2 });
});
afterAll(() => device.close());

/** Where element i of a tensor lies in the file. */
const placeOf = (tensor: string, i: number) => files.tensors.get(tensor)!.entry.byteOffset + 2 * i;

async function put(tensor: string, i: number, bits: number): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Uint8Array.of(bits & 0xff, bits >> 8), 0, 2, placeOf(tensor, i));
  await file.close();
}

const reopened = async () => {
  await files.close();
  files = await openModelFolder(folder);
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-loading-"));
  path = join(folder, "model.safetensors");
  const entries = names.map((name, i) => [
    name,
    { dtype: "BF16", shape: [COUNT], data_offsets: [2 * COUNT * i, 2 * COUNT * (i + 1)] },
  ]);
  const header = JSON.stringify(Object.fromEntries(entries));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFile(path, Buffer.concat([length, Buffer.from(header)]));
  // Zeros that take no room on the disk.
  await truncate(path, 8 + header.length + 2 * COUNT * names.length);
  files = await openModelFolder(folder);
  buffers = [];
});
afterEach(async () => {
  for (const buffer of buffers) buffer.close();
  await files.close();
  await rm(folder, { recursive: true });
});

async function load(placement: "mapped" | "copied", signal?: AbortSignal): Promise<void> {
  const weights = await mapWeights(files, tensors);
  const placed = await weights.load(device, specs, { dtype: "bf16", placement, signal });
  buffers.push(...placed.buffers);
  await placed.loaded;
}

describe.each(["mapped", "copied"] as const)("%s", (placement) => {
  test("the bits of the file arrive, the last ones too", async () => {
    const marks = [0, 1, 131_072, 1_048_575, 1_048_576, 20_000_000, COUNT - 1];
    for (const name of names) for (const i of marks) await put(name, i, 0x3f81 + (i % 100));
    await reopened();
    await load(placement);
    for (const buffer of buffers) {
      const held = await buffer.read(new Uint16Array(COUNT));
      const set: number[] = [];
      for (let i = 0; i < COUNT; i++) if (held[i] !== 0) set.push(i);
      expect(set).toEqual(marks);
      for (const i of marks) expect(held[i]).toBe(0x3f81 + (i % 100));
    }
  });

  test("a number that is not finite is told with its tensor, in whichever part of the load it comes", async () => {
    await put("c", COUNT - 2, 0x7fc0);
    await reopened();
    await expect(load(placement)).rejects.toMatchObject({
      code: "WEIGHT_NOT_FINITE",
      message: expect.stringMatching(`tensor c .*element ${COUNT - 2}\\b`),
    });
  });

  test("a file that is cut while its last tensors are still to come is told", async () => {
    // Listened to before the cut: the load may hear of it sooner than this test.
    const told = expect(load(placement)).rejects.toMatchObject({ code: "FILE_CHANGED", hint: expect.any(String) });
    await truncate(path, placeOf("c", 3));
    await told;
  });

  test("a file that is cut between its header and the load is told", async () => {
    const weights = await mapWeights(files, tensors);
    await truncate(path, placeOf("c", 3));
    const loaded = weights.load(device, specs, { dtype: "bf16", placement }).then((placed) => {
      buffers.push(...placed.buffers);
      return placed.loaded;
    });
    await expect(loaded).rejects.toMatchObject({ code: "FILE_CHANGED" });
  });

  test("a signal ends the load between two calls", async () => {
    const controller = new AbortController();
    const readFiles = device.readFiles.bind(device);
    let calls = 0;
    device.readFiles = (reads) => {
      calls++;
      controller.abort();
      return readFiles(reads);
    };
    try {
      await expect(load(placement, controller.signal)).rejects.toMatchObject({ kind: "aborted" });
    } finally {
      device.readFiles = readFiles;
    }
    expect(calls).toBeLessThan(names.length);
  });
});

test("a load that maps takes no memory of its own", async () => {
  const own = () => 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);
  await load("copied");
  for (const buffer of buffers.splice(0)) buffer.close();
  await device.zeros(1); // behind the frees
  const before = own();
  await load("mapped");
  expect(own() - before).toBeLessThan(50e6);
});

test("a load that copies takes the memory of the weights, and closing gives it back", async () => {
  await load("copied");
  for (const buffer of buffers.splice(0)) buffer.close();
  await device.zeros(1); // behind the frees
  const weights = 2 * COUNT * names.length;
  const before = process.memoryUsage.rss();
  await load("copied");
  expect(process.memoryUsage.rss() - before).toBeLessThan(weights + 50e6);
  for (const buffer of buffers.splice(0)) buffer.close();
  await device.zeros(1);
  expect(process.memoryUsage.rss() - before).toBeLessThan(50e6);
});
