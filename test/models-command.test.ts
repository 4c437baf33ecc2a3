import { cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors, writeSafetensors } from "@krait/formats";
import { describe, expect, test } from "vitest";
import { randomState, sizesOf } from "../packages/nn/test/published-encoders.js";
import { canEncode, emptyFolder, expectFault, krait } from "./command.js";

const fixture = (name: string) =>
  fileURLToPath(new URL(`../packages/nn/test/fixtures/models/${name}`, import.meta.url));

describe.skipIf(!canEncode)("krait parity", () => {
  const model = fixture("nemotron_h_moe");
  const golden = join(model, "golden.safetensors");

  test("tells each case, and exits 0 when all are within the bound", async () => {
    const { code, stdout } = await krait(["parity", model, golden]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/L1 .*\n.*L37 .*\n.*L100 /);
    expect(stdout).toContain("12 tokens equal");
  });

  test("ends its JSON with one object, and exits otherwise beyond the bound", async () => {
    const report = await krait(["parity", model, golden, "--json"]);
    const last = JSON.parse(report.stdout.trimEnd().split("\n").at(-1)!);
    expect(last).toMatchObject({ family: "nemotron_h", greedyEqual: true, ok: true });
    expect(last.maxRelRms).toBeLessThan(1e-4);
    const strict = await krait(["parity", model, golden, "--json", "--bound", "1e-9"]);
    expect(strict.code).toBe(3);
    expect(JSON.parse(strict.stdout)).toMatchObject({ ok: false, greedyEqual: true });
  });

  test("in bf16 replays the choices of experts, and tells what flipped without", async () => {
    const options = ["--dtype", "bf16", "--bound", "1e-2"];
    const { code, stdout } = await krait(["parity", model, golden, ...options]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/L100 .* without replay, 0\.\d+ % of choices flipped/);
    expect(stdout).toContain("experts  as the model chooses in f32");
    const report = JSON.parse((await krait(["parity", model, golden, ...options, "--json"])).stdout);
    expect(report.maxRelRms).toBeLessThan(1e-2);
    expect(report.maxRelRmsFree).toBeGreaterThan(3e-2);
    expect(report.flippedShare).toBeGreaterThan(0);
    const exact = await krait(["parity", model, golden]);
    expect(exact.stdout).not.toMatch(/replay|flipped|experts/);
  });

  test("sees other logits and another continuation", async () => {
    const folder = await emptyFolder();
    const file = await openSafetensors(golden);
    const tensors: Parameters<typeof writeSafetensors>[1] = {};
    for (const [name, { dtype, shape }] of file.tensors)
      Object.assign(tensors, { [name]: { dtype, shape, data: await file.read(name) } });
    await file.close();
    const other = tensors as Record<string, { data: { [i: number]: number } }>;
    other["greedy.tokens"]!.data[11] = (other["greedy.tokens"]!.data[11]! + 1) % 160;
    const path = join(folder, "other.safetensors");
    await writeSafetensors(path, tensors);
    const tokens = await krait(["parity", model, path, "--json"]);
    expect(tokens.code).toBe(3);
    expect(JSON.parse(tokens.stdout)).toMatchObject({ ok: false, greedyEqual: false });
    const logits = other["L37.logits"]!.data;
    for (let i = 0; i < 160; i++) logits[i] = -logits[i]!;
    await writeSafetensors(path, tensors);
    const { cases } = JSON.parse((await krait(["parity", model, path, "--json"])).stdout);
    expect(cases.map((c: { ok: boolean }) => c.ok)).toEqual([true, false, true]);
  });

  test("takes the golden file of a layer alone, and beside a folder", async () => {
    const layer = fileURLToPath(new URL("../packages/nn/test/fixtures/golden-mamba3.safetensors", import.meta.url));
    for (const operands of [[layer], [dirname(layer), layer]]) {
      const { code, stdout } = await krait(["parity", ...operands, "--bound", "2e-2", "--json"]);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ family: "mamba3", greedyEqual: true, ok: true });
    }
    const other = await krait(["parity", layer, "--layer", '{"aActivation":"softplus"}', "--json"]);
    expect(other.code).toBe(3);
    expectFault(await krait(["parity", layer, "--layer", "groups"]), "INVALID_OPTION");
  });

  test("refuses what it cannot compare", async () => {
    expectFault(await krait(["parity"]), "OPERANDS");
    expectFault(await krait(["parity", model]), "NOT_A_FILE");
    expectFault(await krait(["parity", model, join(model, "model.safetensors")]), "GOLDEN_INVALID");
    expectFault(await krait(["parity", fixture("none"), golden]), "MODEL_NOT_FOUND");
    expectFault(await krait(["parity", fixture("mamba2_bf16"), golden, "--bound", "0"]), "INVALID_OPTION");
  });
});

describe.skipIf(!canEncode)("krait inspect and generate", () => {
  test("inspect says what a model takes", async () => {
    const { code, stdout } = await krait(["inspect", fixture("bamba_sharded"), "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ family: "bamba", vocabularySize: 160, contextTokens: 4096 });
    expect((await krait(["inspect", fixture("bamba_sharded")])).stdout).toContain("3 mamba2, 4 gatedMlp, 1 attention");
  });

  test("inspect says what an encoder of clips takes", async () => {
    const folder = await emptyFolder();
    const state = randomState(1, 2, sizesOf(20, 4), "v2", {
      cls_token: [1, 1, 20],
      pos_embed: [1, 5, 20],
      "patch_embed.proj.weight": [20, 3, 8, 8],
      "patch_embed.proj.bias": [20],
      "head.weight": [7, 20],
      "head.bias": [7],
    });
    const tensors = Object.entries(state).map(([name, t]) => [name, { dtype: "f32" as const, ...t }]);
    await writeSafetensors(join(folder, "model.safetensors"), Object.fromEntries(tensors));
    const config = { embed_dim: 20, depth: 2, d_state: 4, img_size: 16, patch_size: 8, stride: 8, num_classes: 7 };
    await writeFile(join(folder, "config.json"), JSON.stringify({ model_type: "vim", ...config }));
    const { code, stdout } = await krait(["inspect", folder, "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: "model",
      family: "vim",
      tokens: 5,
      dim: 20,
      input: [1, 3, 16, 16],
    });
    expect((await krait(["inspect", folder])).stdout).toMatch(/vim: 2 mamba1; width 20, 7 classes\n.*1 x 3 x 16 x 16/);
  });

  test("generate asks for a prompt and a tokenizer", async () => {
    const model = fixture("mamba2_bf16");
    expectFault(await krait(["generate", model]), "PROMPT_MISSING");
    expectFault(await krait(["generate", model, "--prompt", "a"]), "FILE_NOT_FOUND");
    expectFault(await krait(["generate", model, "--prompt", "a", "--tokenizer", "bytes"]), "TOKENIZER_MISMATCH");
    const folder = await emptyFolder();
    await cp(model, folder, { recursive: true });
    expectFault(await krait(["generate", folder, "--prompt", "a", "--temperature", "-1"]), "INVALID_OPTION");
  });
});

describe.skipIf(!canEncode)("krait download", () => {
  test("finds a model of the cache offline, and says where it looked else", async () => {
    const cache = await emptyFolder();
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const repository = join(cache, "models--lab--tiny");
    await cp(fixture("mamba2_bf16"), join(repository, "snapshots", commit), { recursive: true });
    await mkdir(join(repository, "refs"));
    await writeFile(join(repository, "refs", "main"), commit);
    const { code, stdout, stderr } = await krait(["download", "lab/tiny", "--offline", "--cache", cache]);
    expect([code, stdout]).toEqual([0, `${join(repository, "snapshots", commit)}\n`]);
    expect(stderr).toBe("downloading lab/tiny\n");
    const json = await krait(["download", "lab/tiny", "--offline", "--cache", cache, "--json", "--quiet"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ commit, files: ["config.json", "model.safetensors"] });
    expect(json.stderr).toBe("");
    expectFault(await krait(["download", "lab/none", "--offline", "--cache", cache]), "MODEL_NOT_CACHED");
  });

  test("takes a model of the hub alone, and no other command does", async () => {
    expectFault(await krait(["download"]), "OPERANDS");
    expectFault(await krait(["download", "./folder/of/mine"]), "INVALID_OPTION");
    const none = { env: { HF_ENDPOINT: "http://127.0.0.1:9" } };
    for (const command of ["generate", "inspect"])
      expectFault(
        await krait([command, "state-spaces/mamba-130m-hf"], none),
        command === "inspect" ? "MODEL_NOT_FOUND" : "PROMPT_MISSING",
      );
  });
});
