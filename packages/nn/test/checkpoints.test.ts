import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "@krait/formats";
import { type Device, openDevice } from "@krait/runtime";
import { relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkParity, inspectModel, loadCausalModel, StackModel, type WeightSource } from "../src/index.js";

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/models/${name}`, import.meta.url));
type Tensors = Record<string, TensorToWrite>;

let device: Device;
let root: string;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
  root = await mkdtemp(join(tmpdir(), "krait-checkpoints-"));
});
afterAll(async () => {
  await device.close();
  await rm(root, { recursive: true, force: true });
});

let made = 0;
async function copyOf(name: string): Promise<string> {
  const folder = join(root, `${name}-${made++}`);
  await cp(fixture(name), folder, { recursive: true });
  return folder;
}

async function tensorsOf(path: string): Promise<Tensors> {
  const file = await openSafetensors(path);
  const tensors: Tensors = {};
  for (const [key, { dtype, shape }] of file.tensors)
    tensors[key] = { dtype: dtype!, shape, data: await file.read(key) } as never;
  await file.close();
  return tensors;
}

/** A copy of the bf16 model with other tensors. */
async function withTensors(change: (tensors: Tensors) => void): Promise<string> {
  const folder = await copyOf("mamba2_bf16");
  const path = join(folder, "model.safetensors");
  const tensors = await tensorsOf(path);
  change(tensors);
  await rm(path);
  await writeSafetensors(path, tensors, { format: "pt" });
  return folder;
}

async function withConfig(change: Record<string, unknown>, name = "mamba2_bf16"): Promise<string> {
  const folder = await copyOf(name);
  const path = join(folder, "config.json");
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), ...change }));
  return folder;
}

const load = (folder: string) => loadCausalModel(device, folder);
const fails = (folder: string, code: string, message: string) =>
  expect(load(folder)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message),
    hint: expect.any(String),
  });

const NORM = "backbone.layers.1.norm.weight";
const PROJECTION = "backbone.layers.0.mixer.out_proj.weight";

describe("tensors", () => {
  test("one that is missing, or one too many, is named", async () => {
    await fails(await withTensors((t) => void delete t[NORM]), "TENSOR_MISSING", NORM);
    await fails(
      await withTensors((t) => {
        t["extra.weight"] = t[NORM]!;
      }),
      "TENSOR_UNEXPECTED",
      "extra.weight",
    );
  });

  test("a transposed one is named as such", async () => {
    const folder = await withTensors((t) => {
      t[PROJECTION] = { ...t[PROJECTION]!, shape: [...t[PROJECTION]!.shape].reverse() };
    });
    await expect(load(folder)).rejects.toMatchObject({
      code: "TENSOR_SHAPE",
      hint: expect.stringContaining("transposed"),
    });
    await fails(folder, "TENSOR_SHAPE", PROJECTION);
  });

  test("integers and numbers that are not finite are refused by name, whatever the dtype", async () => {
    const integers = await withTensors((t) => {
      t[NORM] = { dtype: "i32", shape: [64], data: new Int32Array(64) } as never;
    });
    await fails(integers, "TENSOR_DTYPE", NORM);
    const bad = { bf16: [0x7fc0, 0xff80], f16: [0x7e00, 0xfc00], f32: [Number.NaN, Number.NEGATIVE_INFINITY] };
    for (const [dtype, values] of Object.entries(bad)) {
      for (const value of values) {
        const folder = await withTensors((t) => {
          const data = dtype === "f32" ? new Float32Array(64) : new Uint16Array(64);
          data[7] = value;
          t[NORM] = { dtype, shape: [64], data } as never;
        });
        await fails(folder, "WEIGHT_NOT_FINITE", NORM);
        await expect(load(folder)).rejects.toThrow("element 7");
      }
    }
  });

  test("half precision gives the values that it holds", async () => {
    const golden = join(fixture("mamba2_bf16"), "golden.safetensors");
    // Norm weights of all ones are exact in every dtype.
    for (const [dtype, one] of [
      ["f16", 0x3c00],
      ["bf16", 0x3f80],
      ["f32", 1],
    ] as const) {
      const folder = await withTensors((t) => {
        const data = (dtype === "f32" ? new Float32Array(64) : new Uint16Array(64)).fill(one);
        t[NORM] = { dtype, shape: [64], data } as never;
      });
      const { cases } = await checkParity(device, folder, golden);
      results.push(cases.map((c) => c.relRms).join());
    }
    expect(new Set(results).size).toBe(1);
  });
  const results: string[] = [];

  test("a tied head that was saved all the same must be the embedding", async () => {
    const table = "backbone.embeddings.weight";
    const tie = async (change: (t: Tensors) => void) => {
      const folder = await withTensors(change);
      const path = join(folder, "config.json");
      await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), tie_word_embeddings: true }));
      return folder;
    };
    const model = await load(
      await tie((t) => {
        t["lm_head.weight"] = t[table]!;
      }),
    );
    model.close();
    await fails(await tie(() => {}), "TENSOR_CONFLICT", "lm_head.weight");
  });
});

describe("configs", () => {
  test("unknown types, wrong sizes and variants that are not implemented name the field", async () => {
    await fails(await withConfig({ model_type: "llama" }), "MODEL_TYPE_UNKNOWN", "llama");
    await fails(await withConfig({ model_type: undefined }), "MODEL_TYPE_UNKNOWN", "model_type");
    for (const [field, value] of Object.entries({
      num_hidden_layers: 1e9,
      hidden_size: -1,
      state_size: "24",
      num_heads: 1.5,
    }))
      await fails(await withConfig({ [field]: value }), "INVALID_CONFIG", field);
    await fails(await withConfig({ n_groups: 3 }), "INVALID_CONFIG", "groups");
    await fails(await withConfig({ hidden_act: "tanh" }), "CONFIG_UNSUPPORTED", "hidden_act");
    await fails(await withConfig({ num_hidden_layers: 4 }), "TENSOR_MISSING", "backbone.layers.3");
    const scaled = { rope_parameters: { rope_type: "yarn", rope_theta: 10000 } };
    await fails(await withConfig(scaled, "bamba_sharded"), "CONFIG_UNSUPPORTED", "rope_type");
    await fails(await withConfig({ layers_block_type: ["conv"] }, "nemotron_h_moe"), "CONFIG_UNSUPPORTED", "conv");
  });

  test("older names of the same things are read", async () => {
    const golden = join(fixture("nemotron_h_moe"), "golden.safetensors");
    const old = await withConfig({ layers_block_type: undefined, hybrid_override_pattern: "ME*EM" }, "nemotron_h_moe");
    expect((await checkParity(device, old, golden)).ok).toBe(true);
    const types = ["mamba", "moe", "attention", "moe", "mamba"];
    expect(
      (await checkParity(device, await withConfig({ layers_block_type: types }, "nemotron_h_moe"), golden)).ok,
    ).toBe(true);
    const rope = { rope_parameters: undefined, rope_theta: 10000, partial_rotary_factor: 0.5 };
    const bamba = await withConfig(rope, "bamba_sharded");
    expect((await checkParity(device, bamba, join(bamba, "golden.safetensors"))).ok).toBe(true);
  });

  test("the native names and config of mamba_ssm are read", async () => {
    const golden = join(fixture("mamba2_bf16"), "golden.safetensors");
    const hf = JSON.parse(await readFile(join(fixture("mamba2_bf16"), "config.json"), "utf8"));
    const folder = await withTensors((t) => {
      t["backbone.embedding.weight"] = t["backbone.embeddings.weight"]!;
      delete t["backbone.embeddings.weight"];
    });
    const ssm_cfg = { layer: "Mamba2", d_state: hf.state_size, headdim: hf.head_dim, ngroups: 1, expand: hf.expand };
    const native = {
      d_model: hf.hidden_size,
      n_layer: hf.num_hidden_layers,
      vocab_size: hf.vocab_size - 3,
      pad_vocab_size_multiple: 16,
      tie_embeddings: hf.tie_word_embeddings,
      ssm_cfg,
    };
    await writeFile(join(folder, "config.json"), JSON.stringify(native));
    const report = await checkParity(device, folder, golden);
    expect(report).toMatchObject({ family: "mamba_ssm", ok: true });
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...native, d_intermediate: 100 }));
    await fails(folder, "TENSOR_MISSING", "backbone.layers.0.norm2.weight");
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...native, rms_norm: false }));
    await fails(folder, "CONFIG_UNSUPPORTED", "rms_norm");
  });

  test("a native Mamba-3 model gives the features of the layer that it is made of", async () => {
    const golden = await openSafetensors(
      fileURLToPath(new URL("fixtures/golden-mamba3-outnorm.safetensors", import.meta.url)),
    );
    const width = 64;
    const x = (await golden.readFloat32("L33.x")).slice(0, 32 * width);
    const eye = Float32Array.from({ length: 32 * width }, (_, i) => (Math.floor(i / width) === i % width ? 1 : 0));
    const ones = { dtype: "f32" as const, shape: [width], data: new Float32Array(width).fill(1) };
    const tensors: Tensors = { "backbone.layers.0.norm.weight": ones, "backbone.norm_f.weight": ones };
    for (const [name, { shape }] of golden.tensors) {
      if (!name.startsWith("param.")) continue;
      const data = await golden.readFloat32(name);
      tensors[`backbone.layers.0.mixer.${name.slice(6)}`] = { dtype: "f32", shape, data };
    }
    await golden.close();
    const stack = {
      width,
      layout: "M3",
      mamba3: { stateSize: 64, headDim: 32, outNorm: true, ropeFraction: 1 as const },
    };
    const source: WeightSource = {
      origin: "the golden layer",
      names: new Set(Object.keys(tensors)),
      shapeOf: (name) => tensors[name]!.shape,
      read: async ({ name }) => tensors[name]!.data as Float32Array,
    };
    const alone = await StackModel.create(device, stack, source);
    const features = await alone.run(x);
    alone.close();

    const folder = join(root, "mamba3");
    await mkdir(folder);
    await writeSafetensors(join(folder, "model.safetensors"), {
      ...tensors,
      "backbone.embedding.weight": { dtype: "f32", shape: [32, width], data: x },
      "lm_head.weight": { dtype: "f32", shape: [32, width], data: eye },
    });
    const ssm_cfg = { layer: "Mamba3", d_state: 64, headdim: 32, is_outproj_norm: true, rope_fraction: 1 };
    const config = { d_model: width, n_layer: 1, vocab_size: 32, tie_embeddings: false, ssm_cfg };
    const configured = (ssm: object) =>
      writeFile(join(folder, "config.json"), JSON.stringify({ ...config, ssm_cfg: { ...ssm_cfg, ...ssm } }));
    const logits = async () => {
      const model = await loadCausalModel(device, folder, { maxLogits: 32 });
      const [all] = await model.run([{ ids: Array.from({ length: 32 }, (_, i) => i), logits: "all" }]);
      model.close();
      return all!;
    };
    await configured({});
    const wanted = Float32Array.from({ length: 32 * 32 }, (_, i) => features[Math.floor(i / 32) * width + (i % 32)]!);
    expect(relativeRms(await logits(), wanted)).toBeLessThan(1e-6);
    await configured({ a_activation: "softplus" });
    expect(relativeRms(await logits(), wanted)).toBeGreaterThan(1e-3);
    await configured({ is_mimo: true });
    await fails(folder, "CONFIG_UNSUPPORTED", "is_mimo");
    await configured({ is_outproj_norm: false });
    await fails(folder, "TENSOR_UNEXPECTED", "mixer.norm.weight");
  });

  test("a folder without a config, and JSON that is none, are refused", async () => {
    const folder = await copyOf("mamba2_bf16");
    await writeFile(join(folder, "config.json"), "{,}");
    await expect(load(folder)).rejects.toMatchObject({ code: "JSON_SYNTAX" });
    await rm(join(folder, "config.json"));
    await fails(folder, "MODEL_NOT_FOUND", folder);
    await fails(join(root, "nowhere"), "MODEL_NOT_FOUND", "nowhere");
  });
});

describe("folders", () => {
  test("pickles are refused by name", async () => {
    for (const name of ["pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json"]) {
      const folder = await copyOf("mamba2_bf16");
      await rename(join(folder, "model.safetensors"), join(folder, name));
      await fails(folder, "PICKLE_REFUSED", name);
    }
  });

  async function withIndex(change: (map: Record<string, unknown>) => unknown): Promise<string> {
    const folder = await copyOf("bamba_sharded");
    const path = join(folder, "model.safetensors.index.json");
    const index = JSON.parse(await readFile(path, "utf8"));
    index.weight_map = change(index.weight_map) ?? index.weight_map;
    await writeFile(path, JSON.stringify(index));
    return folder;
  }
  const HEAD = "lm_head.weight";

  test("an index may name files of its own folder alone", async () => {
    for (const shard of ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x.json", 7, ".safetensors"])
      await fails(
        await withIndex((map) => {
          map[HEAD] = shard;
        }),
        "INVALID_INDEX",
        "weight_map",
      );
    await fails(
      await withIndex((map) => {
        map[HEAD] = "pytorch_model.bin";
      }),
      "PICKLE_REFUSED",
      "pytorch_model.bin",
    );
    await fails(await withIndex(() => []), "INVALID_INDEX", "weight_map");
    await fails(await withIndex(() => ({})), "INVALID_INDEX", "weight_map");
  });

  test("shards that are missing, or do not hold what the index says, are named", async () => {
    const missing = await withIndex((map) => {
      map[HEAD] = "model-00009-of-00009.safetensors";
    });
    await fails(missing, "FILE_NOT_FOUND", "model-00009");
    await fails(
      await withIndex((map) => {
        map["no.such"] = map[HEAD];
      }),
      "TENSOR_MISSING",
      "no.such",
    );
    await fails(await withIndex((map) => void delete map[HEAD]), "TENSOR_UNEXPECTED", HEAD);
  });

  test("links out of the folder are refused, those of a download cache are followed", async () => {
    const folder = await copyOf("mamba2_bf16");
    const elsewhere = join(root, "elsewhere.safetensors");
    await rename(join(folder, "model.safetensors"), elsewhere);
    await symlink(elsewhere, join(folder, "model.safetensors"));
    await fails(folder, "LINK_REFUSED", "elsewhere");
    const repository = join(root, "models--org--name");
    const snapshot = join(repository, "snapshots", "0123abcd");
    await mkdir(join(repository, "blobs"), { recursive: true });
    await mkdir(snapshot, { recursive: true });
    await cp(elsewhere, join(repository, "blobs", "feed"));
    await cp(join(folder, "config.json"), join(snapshot, "config.json"));
    await symlink("../../blobs/feed", join(snapshot, "model.safetensors"));
    expect((await inspectModel(snapshot)).family).toBe("mamba2");
  });

  test("a single file is the whole model, and an index beside it changes nothing", async () => {
    const folder = await copyOf("mamba2_bf16");
    await writeFile(join(folder, "model.safetensors.index.json"), "{}");
    const model = await load(folder);
    expect(basename(folder)).toContain("mamba2");
    model.close();
  });
});
