import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The config of a small text encoder. */
export const smallConfig = {
  model_type: "krait_encoder",
  version: 1,
  inputs: { text: {} },
  stack: { width: 64, layout: "M2 A", mamba2: { headDim: 32, stateSize: 16 }, attention: { heads: 4, keyHeads: 2 } },
};

/** A model folder with these files; objects become JSON. */
export async function plantModel(folder: string, files: Record<string, Uint8Array | object>): Promise<string> {
  const model = join(folder, "model");
  await mkdir(model);
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(model, name), content instanceof Uint8Array ? content : JSON.stringify(content));
  }
  return model;
}
