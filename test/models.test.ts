import { execFileSync } from "node:child_process";
import { cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "@krait/formats";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import { audio, type Encoder, KraitError, loadEncoder, type Source, text, video } from "krait";
import { beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, tiny, tinyConfig } from "./fixtures.js";

const at = folderOfTests();
const config = parseEncoderConfig(tinyConfig);

async function closing<T>(encoder: Encoder, work: (encoder: Encoder) => Promise<T>): Promise<T> {
  try {
    return await work(encoder);
  } finally {
    await encoder.close();
  }
}

/** Loads what must not load; the error, which is the file's fault and says what to do. */
async function refusal(folder: string): Promise<KraitError> {
  const error = await loadEncoder(folder, { device: "cpu" }).then(
    (encoder) => encoder.close(),
    (thrown: unknown) => thrown,
  );
  if (!KraitError.is(error)) throw new Error(`expected a typed error, not ${error}`, { cause: error });
  expect(error.kind, error.message).toBe("input");
  expect(error.hint).toBeTruthy();
  return error;
}

type Tensors = Map<string, TensorToWrite & { data: Float32Array }>;

describe.skipIf(!built)("a saved model", () => {
  const saved = () => at("saved");
  beforeAll(() => saveCheckpoint(saved(), config, seededWeights(tiny.seed)));

  it.skipIf(process.platform === "win32")("is refused, not waited for, with a FIFO as its config", async () => {
    const folder = at("fifo");
    await mkdir(folder);
    execFileSync("mkfifo", [join(folder, "config.json")]);
    expect((await refusal(folder)).code).toBe("MODEL_NOT_FOUND");
  });

  /** A copy of the model whose tensors went through `change`. */
  async function changed(name: string, change: (tensors: Tensors) => void): Promise<string> {
    const folder = at(name);
    await mkdir(folder);
    await cp(join(saved(), "config.json"), join(folder, "config.json"));
    const file = await openSafetensors(join(saved(), "model.safetensors"));
    const tensors: Tensors = new Map();
    for (const [key, { shape }] of file.tensors)
      tensors.set(key, { dtype: "f32", shape, data: await file.readFloat32(key) });
    await file.close();
    change(tensors);
    await writeSafetensors(join(folder, "model.safetensors"), tensors);
    return folder;
  }

  /** A copy of the model with other files in place of its own. */
  async function planted(name: string, files: Record<string, string | Uint8Array>): Promise<string> {
    const folder = at(name);
    await mkdir(folder);
    if (!files["config.json"]) await cp(join(saved(), "config.json"), join(folder, "config.json"));
    for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
    return folder;
  }

  it("gives the features of the seeded one, bit for bit", async () => {
    const clip = makeClip(at("clip.mkv"), { seconds: 3 });
    const sources: Source[] = [text("words"), video(clip), audio(clip)];
    const fromSeed = await closing(await loadEncoder(tiny, { device: "cpu" }), (e) => e.encode(sources));
    await closing(await loadEncoder(saved(), { device: "cpu" }), async (encoder) => {
      expect(encoder.config).toEqual(config);
      expect(encoder.model).toMatchObject({ random: false, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
      const fromFile = await encoder.encode(sources);
      expect(fromFile.tokens).toEqual(fromSeed.tokens);
      expect(Buffer.compare(Buffer.from(fromFile.data.buffer), Buffer.from(fromSeed.data.buffer))).toBe(0);
    });
    const otherSeed = await loadEncoder({ ...tiny, seed: tiny.seed + 1 }, { device: "cpu" });
    expect((await closing(otherSeed, (e) => e.encode(sources))).data).not.toEqual(fromSeed.data);
  });

  it("is config.json and model.safetensors, nothing else", async () => {
    expect((await readdir(saved())).sort()).toEqual(["config.json", "model.safetensors"]);
  });

  const name = "backbone.layers.0.mixer.in_proj.weight";

  it("lacks a tensor, and its name is told", async () => {
    const { code, message } = await refusal(await changed("missing", (tensors) => tensors.delete(name)));
    expect(code).toBe("TENSOR_MISSING");
    expect(message).toContain(name);
  });

  it("holds a tensor too many", async () => {
    const extra = { dtype: "f32", shape: [1], data: Float32Array.of(1) } as const;
    const folder = await changed("extra", (tensors) => tensors.set("head.weight", { ...extra }));
    const { code, message } = await refusal(folder);
    expect(code).toBe("TENSOR_UNEXPECTED");
    expect(message).toContain("head.weight");
  });

  it("holds a transposed tensor", async () => {
    const folder = await changed("transposed", (tensors) => {
      const tensor = tensors.get(name)!;
      expect(tensor.shape[0]).not.toBe(tensor.shape[1]);
      tensors.set(name, { ...tensor, shape: [...tensor.shape].reverse() });
    });
    const { code, message, hint } = await refusal(folder);
    expect(code).toBe("TENSOR_SHAPE");
    expect(message).toContain(name);
    expect(hint).toMatch(/transposed/);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("holds a weight that is %d", async (value) => {
    const folder = await changed(`weight-${value}`, (tensors) => {
      tensors.get(name)!.data[7] = value;
    });
    const { code, message, hint } = await refusal(folder);
    expect(code).toBe("WEIGHT_NOT_FINITE");
    expect(message).toContain(name);
    expect(hint).toContain("Element 7 ");
  });

  it("has heads that do not divide its width", async () => {
    const stack = { ...config.stack, attention: { heads: 5, keyHeads: 5, window: 24, sinks: 2 } };
    const folder = await planted("heads", { "config.json": JSON.stringify({ ...config, stack }) });
    const { code, message } = await refusal(folder);
    expect(code).toBe("INVALID_CONFIG");
    expect(message).toMatch(/head/i);
  });

  it.each([
    ["is of another version", { version: 2 }],
    ["has an unknown field", { colour: "red" }],
    ["has a layout of no known layer", { stack: { width: 32, layout: "Q3" } }],
    ["has a billion layers", { stack: { width: 32, layout: "M2x1000000000" } }],
    ["takes nothing", { inputs: {} }],
  ])("has a config that %s", async (what, change) => {
    const folder = await planted(what.replaceAll(" ", "-"), {
      "config.json": JSON.stringify({ ...config, ...change }),
    });
    expect((await refusal(folder)).code).toMatch(/^INVALID_(CONFIG|LAYOUT)$/);
  });

  it("has a config that is no JSON, or tries to be a prototype", async () => {
    expect((await refusal(await planted("no-json", { "config.json": "{" }))).code).toMatch(/^[A-Z_]+$/);
    const text = JSON.stringify(config).replace("{", '{"__proto__":{"heads":1},');
    expect((await refusal(await planted("proto", { "config.json": text }))).code).toMatch(/^[A-Z_]+$/);
    expect(({} as Record<string, unknown>).heads).toBeUndefined();
  });

  it("has a pickle for weights, under any name", async () => {
    const pickle = Uint8Array.of(0x80, 0x02, 0x7d, 0x71, 0x00, 0x2e, 0, 0, 0, 0, 0, 0);
    for (const file of ["pytorch_model.bin", "model.pt", "model.safetensors"]) {
      const { code, message } = await refusal(await planted(`pickle-${file}`, { [file]: pickle }));
      expect(code).toBe("PICKLE_REFUSED");
      expect(message).toContain(file);
    }
  });

  it("has a header longer than its file", async () => {
    const bytes = new Uint8Array(64);
    new DataView(bytes.buffer).setBigUint64(0, 10_000n, true);
    bytes.set(new TextEncoder().encode('{"a":'), 8);
    const { code } = await refusal(await planted("header", { "model.safetensors": bytes }));
    expect(code).toMatch(/^SAFETENSORS_/);
  });

  it("is not there, is a file, or has no weights", async () => {
    expect((await refusal(at("nowhere"))).code).toBe("MODEL_NOT_FOUND");
    expect((await refusal(join(saved(), "config.json"))).code).toBe("MODEL_NOT_FOUND");
    expect((await refusal(await planted("weightless", {}))).code).toBe("MODEL_NOT_FOUND");
  });
});
