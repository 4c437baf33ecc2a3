import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Device, openDevice } from "@krait/runtime";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkParity } from "../src/index.js";

// Small random models as save_pretrained wrote them, with the outputs of transformers 5.17.0 in float32. KRAIT_GOLDENS names a
// folder of more such folders.
const roots = [fileURLToPath(new URL("fixtures/models", import.meta.url)), process.env.KRAIT_GOLDENS];
const folders = roots.flatMap((root) =>
  root && existsSync(root) ? readdirSync(root, { withFileTypes: true }).map((d) => join(root, d.name)) : [],
);

describe("published models equal their references", () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu" });
  });
  afterAll(() => device.close());

  test.each(folders)("%s", async (folder) => {
    const golden = join(folder, "golden.safetensors");
    const exact = await checkParity(device, folder, golden);
    expect(exact.maxRelRms).toBeLessThanOrEqual(1e-4);
    expect(exact.greedyEqual).toBe(true);
    expect(exact.ok).toBe(true);
  });
});
