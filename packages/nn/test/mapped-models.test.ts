// Models that run where their files are mapped: the numbers of models in memory, whatever becomes of the files.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { cp, mkdtemp, open, readFile, rename, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { writeSafetensors } from "@krait/formats";
import { type Device, openDevice } from "@krait/runtime";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { mapWeights, openModelFolder, type TensorPart, type WeightPlacement } from "../src/checkpoints/index.js";
import { type CausalModel, loadCausalModel } from "../src/index.js";

const models = fileURLToPath(new URL("fixtures/models", import.meta.url));
const ids = Array.from({ length: 40 }, (_, i) => (7 * i) % 100);

let device: Device;
let folder: string;
let open_: CausalModel[];
beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 2 });
});
afterAll(() => device.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-mapped-models-"));
  open_ = [];
});
afterEach(async () => {
  for (const model of open_) model.close();
  await rm(folder, { recursive: true });
});

const weightsIn = (at: string) => readdirSync(at).filter((name) => /^model.*safetensors$/.test(name));

/** A model's folder of our own, its weights written long ago: times have a grain, in which a second write could not be seen. */
async function put(name: string): Promise<void> {
  await cp(join(models, name), folder, { recursive: true });
  for (const file of weightsIn(folder)) await utimes(join(folder, file), 1e9, 1e9);
}

async function load(dtype: "f32" | "bf16", weights?: WeightPlacement): Promise<CausalModel> {
  const options = { dtype, weights, contextTokens: 64, maxTokens: 64, maxLogits: 64 };
  const model = await loadCausalModel(device, folder, options);
  open_.push(model);
  return model;
}

/** Logits of one pass, of two packed sequences, and of chunks and a step in a session. */
async function numbersOf(model: CausalModel): Promise<Float32Array[]> {
  const [whole] = await model.run([{ ids, logits: "all" }]);
  const packed = await model.run([{ ids: ids.slice(0, 17) }, { ids: ids.slice(17) }]);
  const session = await model.open();
  const chunked = await model.prefill(ids.slice(0, 30), session, { chunk: 7 });
  const [step] = await model.run([{ ids: ids.slice(30, 31), session }]);
  session.close();
  return [whole!, ...packed, chunked, step!];
}

const mapsOf = (at: string) =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(at));
const changed = (file: string) => ({
  kind: "input",
  code: "FILE_CHANGED",
  message: expect.stringContaining(join(folder, file)),
  hint: expect.stringContaining('"copied"'),
});

describe.each([
  ["mamba2_bf16", "bf16"],
  ["mamba2_bf16", "f32"],
  ["bamba_sharded", "f32"],
  ["nemotron_h_moe", "f32"],
  ["nemotron_h_moe", "bf16"],
] as const)("%s in %s", (name, dtype) => {
  test("gives the bits of a model that was copied", async () => {
    await put(name);
    const there = await load(dtype);
    // Norms and the like are f32 whatever the program computes in.
    const inFile = name === "mamba2_bf16" ? dtype === "bf16" : true;
    expect(mapsOf(folder).length).toBe(inFile ? weightsIn(folder).length : 0);
    const copied = await load(dtype, "copied");
    expect(mapsOf(folder).length).toBe(inFile ? weightsIn(folder).length : 0);
    const [a, b] = [await numbersOf(there), await numbersOf(copied)];
    for (const [i, numbers] of a.entries())
      expect(Buffer.compare(Buffer.from(numbers.buffer), Buffer.from(b[i]!.buffer))).toBe(0);
  });
});

test("a closed model leaves no mapping, and one that failed to load none either", async () => {
  await put("mamba2_bf16");
  const model = await load("bf16");
  expect(mapsOf(folder).length).toBe(1);
  model.close();
  await device.zeros(1); // behind the unmapping
  expect(mapsOf(folder)).toEqual([]);
  const bytes = await readFile(join(folder, "model.safetensors"));
  bytes.writeUInt16LE(0x7fc0, bytes.length - 10);
  await writeFile(join(folder, "model.safetensors"), bytes);
  await expect(load("bf16")).rejects.toMatchObject({
    code: "WEIGHT_NOT_FINITE",
    message: expect.stringMatching(/tensor \S+ of .*element \d+/),
  });
  await device.zeros(1);
  expect(mapsOf(folder)).toEqual([]);
});

test("a model whose file is cut or written to fails, others go on, and it runs again when it is loaded again", async () => {
  const file = "model.safetensors";
  await put("mamba2_bf16");
  const copied = await load("bf16", "copied");
  const want = await numbersOf(copied);
  const whole = await readFile(join(folder, file));
  for (const change of [
    () => truncate(join(folder, file), 100_000),
    () => truncate(join(folder, file), 0),
    async () => {
      const handle = await open(join(folder, file), "r+");
      await handle.write(Uint8Array.of(1, 2, 3, 4), 0, 4, 150_000);
      await handle.close();
    },
  ]) {
    const model = await load("bf16");
    const session = await model.open();
    await model.prefill(ids, session);
    await change();
    await expect(model.run([{ ids: [1], session }])).rejects.toMatchObject(changed(file));
    await expect(model.run([{ ids }])).rejects.toMatchObject(changed(file));
    expect(await numbersOf(copied)).toEqual(want);
    model.close();
    await writeFile(join(folder, file), whole);
    await utimes(join(folder, file), 1e9, 1e9);
    expect(await numbersOf(await load("bf16"))).toEqual(want);
  }
});

test("one shard of many that is cut is named", async () => {
  await put("bamba_sharded");
  const model = await load("f32");
  const file = "model-00004-of-00005.safetensors";
  await truncate(join(folder, file), 5000);
  await expect(model.run([{ ids }])).rejects.toMatchObject(changed(file));
});

test("a file that another takes the name of, or that is removed, serves on", async () => {
  await put("mamba2_bf16");
  const file = join(folder, "model.safetensors");
  const model = await load("bf16");
  const want = await numbersOf(model);
  const other = await readFile(file);
  other.fill(0, other.length - 50_000);
  await writeFile(`${file}.new`, other);
  await rename(`${file}.new`, file);
  expect(await numbersOf(model)).toEqual(want);
  await rm(file);
  expect(await numbersOf(model)).toEqual(want);
});

test("tensors between the multiples of their elements' size are copied, the others mapped", async () => {
  await put("nemotron_h_moe");
  const file = join(folder, "model.safetensors");
  const want = await numbersOf(await load("f32", "copied"));
  const bytes = await readFile(file);
  const length = Number(bytes.readBigUInt64LE(0));
  for (const [spaces, maps] of [
    [1, 0],
    [2, 0],
    [4, 1],
  ] as const) {
    const start = Buffer.alloc(8);
    start.writeBigUInt64LE(BigInt(length + spaces));
    const header = Buffer.concat([bytes.subarray(8, 8 + length), Buffer.alloc(spaces, " ")]);
    await writeFile(file, Buffer.concat([start, header, bytes.subarray(8 + length)]));
    const model = await load("f32");
    expect(mapsOf(folder).length).toBe(maps);
    expect(await numbersOf(model)).toEqual(want);
    model.close();
    await device.zeros(1);
  }
});

test("what a tensor is made of decides whether it is mapped: scales, roundings and several parts are not", async () => {
  const values = Float32Array.from({ length: 24 }, (_, i) => 1 / (i + 3));
  await writeSafetensors(join(folder, "model.safetensors"), {
    a: { dtype: "f32", shape: [4, 3], data: values.slice(0, 12) },
    b: { dtype: "f32", shape: [4, 3], data: values.slice(12) },
  });
  const [a, b] = ["a", "b"].map((tensor) => ({ tensor, shape: [4, 3] }));
  const tensor = (name: string, rows: number, parts: readonly TensorPart[], dtype: "weight" | "f32" = "weight") => ({
    ...{ name, shape: [rows, 3], dtype, init: () => {}, parts },
  });
  const tensors = [
    tensor("whole", 4, [a!]),
    tensor("rows", 2, [{ ...b!, rows: [1, 3] }]),
    tensor("scaled", 4, [{ ...a!, scale: 3 }]),
    tensor("scaled in part", 4, [{ ...a!, scale: [1, 3].map((scale) => ({ rows: 2, scale })) }]),
    tensor("joined", 8, [a!, b!]),
    tensor("norm", 4, [a!], "f32"),
  ];
  const files = await openModelFolder(folder);
  for (const [round, mapped] of [
    [undefined, ["whole", "rows", "norm"]],
    ["bf16", ["norm"]],
  ] as const) {
    const weights = await mapWeights(files, tensors, { round });
    const [there, copied] = await Promise.all(
      (["mapped", "copied"] as const).map((placement) => weights.load(device, tensors, { dtype: "f32", placement })),
    );
    await Promise.all([there!.loaded, copied!.loaded]);
    for (const [i, { name, shape }] of tensors.entries()) {
      const [x, y] = [there!.buffers[i]!, copied!.buffers[i]!];
      const [held, want] = await Promise.all([x, y].map((one) => one.read(new Float32Array(shape[0]! * 3))));
      expect(held, name).toEqual(want);
      const write = x.fill(0).then(
        () => "copied",
        () => "mapped",
      );
      expect([name, await write]).toEqual([name, (mapped as readonly string[]).includes(name) ? "mapped" : "copied"]);
    }
    for (const buffer of [...there!.buffers, ...copied!.buffers]) buffer.close();
  }
  await files.close();
});

test("a process whose model loses its file while it runs lives on", async () => {
  await put("mamba2_bf16");
  const file = join(folder, "model.safetensors");
  const dist = (name: string) =>
    JSON.stringify(pathToFileURL(fileURLToPath(new URL(`../../${name}/dist/index.js`, import.meta.url))).href);
  const script = `
    import { truncateSync } from "node:fs";
    import { loadCausalModel } from ${dist("nn")};
    import { openDevice } from ${dist("runtime")};
    const device = await openDevice({ device: "cpu", threads: 2 });
    const model = await loadCausalModel(device, ${JSON.stringify(folder)}, { dtype: "bf16", maxTokens: 64 });
    const run = () => model.run([{ ids: ${JSON.stringify(ids)} }]).then(() => "fine", (e) => e.code);
    const early = await run();
    // Cut behind the first look at it: the device's thread is in the middle of these.
    const runs = Array.from({ length: 200 }, run);
    await runs[20];
    truncateSync(${JSON.stringify(file)}, 9000);
    const seen = new Set(await Promise.all(runs));
    console.log(early, [...seen].sort().join(), await run());
    await device.close();`;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script]);
  expect({ status, signal, stderr: String(stderr) }).toEqual({ status: 0, signal: null, stderr: "" });
  expect(String(stdout)).toMatch(/^fine (FILE_CHANGED,)?fine FILE_CHANGED\n$/);
});
