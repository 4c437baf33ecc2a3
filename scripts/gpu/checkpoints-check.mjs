// Published models, stored whole, in pieces, in fp16 and in bf16, loaded to the GPU and held to their references' logits.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkParity } from "../../packages/nn/dist/index.js";

export const fixtures = new URL("../../packages/nn/test/fixtures/models", import.meta.url).pathname;

export async function checkCheckpoints(device, folder = fixtures) {
  const rows = [];
  for (const name of readdirSync(folder).sort()) {
    const { maxRelRms, bound, greedyEqual, ok } = await checkParity(
      device,
      join(folder, name),
      join(folder, name, "golden.safetensors"),
    );
    const failures = ok ? [] : [`relative RMS ${maxRelRms}, greedy tokens equal: ${greedyEqual}`];
    rows.push({ id: `checkpoint/${name}/f32`, error: maxRelRms, bound, failures });
  }
  return rows;
}
