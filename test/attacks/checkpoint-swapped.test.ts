import { cp, open, readFile, rename, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CausalModel,
  describeModel,
  loadCausalModel,
  mapWeights,
  openModelFolder,
  readPublishedConfig,
  tensorsOf,
} from "@krait/nn";
import { type Device, openDevice } from "@krait/runtime";
import { KraitError } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built } from "../fixtures.js";
import { spoiltModel } from "./checkpoints.js";

describe.skipIf(!built)("weights that change while they are loaded", () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu" });
  });
  afterAll(() => device.close());

  /** Loads with something done to the file between the header and the first tensor. */
  async function loadOver(change: (path: string) => Promise<unknown>): Promise<CausalModel> {
    const folder = await spoiltModel();
    const files = await openModelFolder(folder);
    try {
      const names = new Set(files.tensors.keys());
      const description = describeModel(await readPublishedConfig(folder), { names, contextTokens: 16 });
      const weights = await mapWeights(files, tensorsOf(description));
      await change(join(folder, "model.safetensors"));
      return await CausalModel.create(device, description, weights);
    } finally {
      await files.close();
    }
  }

  it.each<[string, (path: string) => Promise<unknown>]>([
    ["cut short", (path) => truncate(path, 5000)],
    ["emptied", (path) => truncate(path, 0)],
    ["written over", async (path) => writeFile(path, Buffer.alloc((await readFile(path)).length, 0x3f))],
    ["touched", (path) => utimes(path, 1e9, 1e9)],
  ])("%s: the load says so", async (_, change) => {
    await expect(loadOver(change)).rejects.toMatchObject({ code: "FILE_CHANGED", hint: expect.any(String) });
  });

  it("another file under the same name: the one that was opened is loaded", async () => {
    const logits = async (model: CausalModel) => {
      const [row] = await model.run([{ ids: [1, 2, 3] }]);
      model.close();
      return row!;
    };
    const kept = await logits(await loadCausalModel(device, await spoiltModel()));
    const swapped = await loadOver(async (path) => {
      await writeFile(`${path}.new`, "not a model at all");
      await rename(`${path}.new`, path);
    });
    expect(await logits(swapped)).toEqual(kept);
  });

  it("at any moment: it is loaded whole or refused, never by halves", async () => {
    const source = await spoiltModel();
    const codes = new Set<string>();
    for (let i = 0; i < 12; i++) {
      const folder = `${source}-${i}`;
      await cp(source, folder, { recursive: true });
      const path = join(folder, "model.safetensors");
      const loading = loadCausalModel(device, folder).then(
        (model) => model.close(),
        (error: unknown) => {
          if (!KraitError.is(error)) throw error;
          codes.add(error.code);
        },
      );
      await sleep(i);
      const file = await open(path, "r+");
      await file.truncate(1000 + 3000 * i);
      await file.close();
      await loading;
      await rm(folder, { recursive: true });
    }
    for (const code of codes) expect(code).toMatch(/^(FILE_CHANGED|SAFETENSORS_\w+)$/);
  });
});
