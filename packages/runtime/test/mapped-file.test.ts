// Buffers that lie in a file: what they hold, what is refused, and what happens when the file does not stay as it was.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { type FileHandle, open, rename, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Graph, linear, unary } from "@krait/graph";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { generator } from "../src/conformance/index.js";
import { type Device, type DeviceBuffer, type MappedFile, openDevice, type Program } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const path = join(tmpdir(), `krait-mapped-${process.pid}`);
const COUNT = 300_000;
const values = Float32Array.from({ length: COUNT }, () => random() * 8 - 4);

let device: Device;
let file: FileHandle;
let mapped: MappedFile;
beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 2 });
});
afterAll(async () => {
  await device.close();
  await rm(path, { force: true });
});

/** Written long ago: times have a grain, in which a second write could not be seen. */
async function write(to: string, data: Uint8Array): Promise<void> {
  await writeFile(to, data);
  await utimes(to, 1e9, 1e9);
}

beforeEach(async () => {
  await write(path, new Uint8Array(values.buffer));
  file = await open(path);
  mapped = await device.mapFile(file.fd, path);
  await file.close();
});
afterEach(() => mapped.close());

/** What a handle of this process is of; several may go while they are looked at. */
function linkOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

/** y [T, 100] = x [T, 1000] · weightᵀ, the weight being a buffer. */
async function product(weight: DeviceBuffer): Promise<Program> {
  const graph = new Graph("product");
  const x = graph.input("x", "f32", [graph.symbol("T", 4), 1000]);
  graph.output("y", linear({ x, weight: graph.parameter("weight", "f32", [100, 1000]) }).y);
  return device.load(graph, { buffers: { weight } });
}
const x = Float32Array.from({ length: 2000 }, () => random() - 0.5);
const run = (program: Program) => program.run({ symbols: { T: 2 }, inputs: { x } });
const changed = {
  kind: "input",
  code: "FILE_CHANGED",
  message: expect.stringContaining(path),
  hint: expect.any(String),
};

describe(`mapped files, seed ${seed}`, () => {
  test("a buffer holds the bytes of its place, and gives the results of one in memory", async () => {
    expect(mapped.bytes).toBe(4 * COUNT);
    for (const from of [0, 1, 1023, 200_000]) {
      const buffer = mapped.buffer(4 * from, 400_000);
      const part = values.slice(from, from + 100_000);
      const held = await buffer.read(new Float32Array(100_000));
      expect(Buffer.compare(Buffer.from(held.buffer), Buffer.from(part.buffer))).toBe(0);
      const [there, copied] = [await product(buffer), await product(await device.upload(part))];
      expect(await run(there)).toEqual(await run(copied));
      await there.measure({ symbols: { T: 2 }, inputs: { x } }, { warmup: 1, repeats: 1 });
    }
  });

  test("places outside of the file, between elements, and buffers of a closed mapping are refused", async () => {
    const refused = expect.objectContaining({ kind: "usage", code: "INVALID_RUN" });
    for (const [offset, bytes] of [
      [-4, 8],
      [0, 4 * COUNT + 1],
      [4 * COUNT + 4, 0],
      [4, -4],
    ] as const)
      expect(() => mapped.buffer(offset, bytes)).toThrow(refused);
    await expect(run(await product(mapped.buffer(2, 400_000)))).rejects.toThrow(refused);
    const buffer = mapped.buffer(0, 400_000);
    mapped.close();
    expect(() => mapped.buffer(0, 4)).toThrow(refused);
    await run(await product(buffer));
  });

  test("nothing writes to the file: copies, fills, states and results in place are refused", async () => {
    const refused = { kind: "usage", code: "INVALID_RUN" };
    const buffer = mapped.buffer(0, 400);
    await expect(buffer.write(new Float32Array(1))).rejects.toMatchObject(refused);
    await expect(buffer.write(new Float32Array(0))).rejects.toMatchObject(refused);
    await expect(buffer.fill(0)).rejects.toMatchObject(refused);
    const graph = new Graph("state");
    graph.output("y", unary({ x: graph.state("kept", "f32", [1, 100]) }, { kind: "relu" }).y);
    const program = await device.load(graph, { buffers: { kept: buffer } });
    await expect(program.run({ symbols: {}, inputs: {} })).rejects.toMatchObject(refused);
    expect(Buffer.compare(readFileSync(path), Buffer.from(values.buffer))).toBe(0);
  });

  test("a file that is cut or written to fails what reads it, for good, and nothing else", async () => {
    for (const change of [
      () => truncate(path, 4096),
      () => truncate(path, 0),
      async () => {
        const handle = await open(path, "r+");
        await handle.write(Uint8Array.of(1), 0, 1, 4_000);
        await handle.close();
      },
    ]) {
      await write(path, new Uint8Array(values.buffer));
      const handle = await open(path);
      const [one, two] = [await device.mapFile(handle.fd, path), await device.upload(values.slice(0, 100_000))];
      await handle.close();
      const buffer = one.buffer(0, 400_000);
      const programs = [await product(buffer), await product(two)] as const;
      const before = await run(programs[0]);
      await change();
      await expect(run(programs[0])).rejects.toMatchObject(changed);
      await expect(programs[0].measure({ symbols: { T: 2 }, inputs: { x } })).rejects.toMatchObject(changed);
      await expect(buffer.read(new Float32Array(100_000))).rejects.toMatchObject(changed);
      const look = { fd: -1, offset: 0, count: 100_000, dtype: "f32", into: buffer, target: "f32" } as const;
      await expect(device.readFiles([look])).rejects.toMatchObject(changed);
      await write(path, new Uint8Array(values.buffer));
      await expect(run(programs[0])).rejects.toMatchObject(changed);
      expect(await run(programs[1])).toEqual(before);
      one.close();
    }
  });

  test("pages that go while they are read are told too", async () => {
    const buffer = mapped.buffer(0, 400_000);
    const program = await product(buffer);
    const whole = await run(program);
    const runs = Array.from({ length: 100 }, () => run(program).catch((e: unknown) => e));
    await truncate(path, 100);
    await expect(run(program)).rejects.toMatchObject(changed);
    for (const result of await Promise.all(runs))
      if (result instanceof Error) expect(result).toMatchObject(changed);
      else expect(result).toEqual(whole);
  });

  test("a file that is replaced under its name, or removed, stays mapped as it was", async () => {
    const buffer = mapped.buffer(0, 400_000);
    const program = await product(buffer);
    const before = await run(program);
    await write(`${path}.new`, new Uint8Array(4 * COUNT));
    await rename(`${path}.new`, path);
    expect(await run(program)).toEqual(before);
    await rm(path);
    expect(await run(program)).toEqual(before);
  });

  test("elements are looked through where they are", async () => {
    const data = values.slice();
    data[200_001] = Number.NaN;
    await write(path, new Uint8Array(data.buffer));
    const handle = await open(path);
    const one = await device.mapFile(handle.fd, path);
    await handle.close();
    const into = one.buffer(4, 4 * (COUNT - 1));
    const look = { fd: -1, offset: 0, count: 200_000, dtype: "f32", into, target: "f32" } as const;
    expect(await device.readFiles([look])).toBeUndefined();
    expect(await device.readFiles([look, { ...look, count: COUNT - 1 }])).toEqual({ read: 1, notFinite: 200_000 });
    for (const wrong of [
      { scale: 2 },
      { rounds: true },
      { dtype: "f64" },
      { target: "bf16" },
      { count: COUNT },
    ] as const)
      await expect(device.readFiles([{ ...look, ...wrong }])).rejects.toMatchObject({ code: "INVALID_RUN" });
    one.close();
  });

  test("what has no bytes and what is no file cannot be mapped", async () => {
    await writeFile(path, "");
    for (const what of [path, "/dev/null"]) {
      const handle = await open(what);
      await expect(device.mapFile(handle.fd, what)).rejects.toMatchObject({ code: "UNSUPPORTED" });
      await handle.close();
    }
    await expect(device.mapFile(1_000_000, "none")).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test("a thousand mappings leave neither a map nor a handle", async () => {
    const own = `${path}.own`;
    const maps = () =>
      readFileSync("/proc/self/maps", "utf8")
        .split("\n")
        .filter((line) => line.endsWith(own)).length;
    const handles = () => readdirSync("/proc/self/fd").filter((fd) => linkOf(fd) === own).length;
    await write(own, new Uint8Array(values.buffer));
    const handle = await open(own);
    for (let i = 0; i < 1000; i++) {
      const one = await device.mapFile(handle.fd, path);
      const buffer = one.buffer(0, 400);
      one.close();
      if (i % 100 === 0) {
        await device.zeros(1);
        expect([maps(), handles()]).toEqual([1, 2]);
        await buffer.read(new Float32Array(100));
      }
      buffer.close();
    }
    await device.zeros(1); // behind the unmapping
    expect(maps()).toBe(0);
    expect(handles()).toBe(1);
    await handle.close();
    await rm(own);
  });
});
