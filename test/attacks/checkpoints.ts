import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadCausalModel } from "@krait/nn";
import { openDevice } from "@krait/runtime";
import { expect } from "vitest";
import { emptyFolder } from "../command.js";

const fixture = fileURLToPath(new URL("../../packages/nn/test/fixtures/models/mamba2_bf16", import.meta.url));

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** A copy of a published model whose config and header of weights went through `change`; the bytes behind the header stay. */
export async function spoiltModel(
  change: { config?: (config: Record<string, unknown>) => unknown; header?: (header: Header) => unknown } = {},
): Promise<string> {
  const folder = join(await emptyFolder(), "model");
  await mkdir(folder);
  await cp(fixture, folder, { recursive: true });
  const configPath = join(folder, "config.json");
  const config = JSON.parse(await readFile(configPath, "utf8"));
  const spoilt = change.config?.(config) ?? config;
  await writeFile(configPath, typeof spoilt === "string" ? spoilt : JSON.stringify(spoilt));
  const path = join(folder, "model.safetensors");
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Header;
  change.header?.(header);
  const json = Buffer.from(JSON.stringify(header));
  const front = Buffer.alloc(8);
  front.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([front, json, bytes.subarray(8 + length)]));
  return folder;
}

const MOST_SECONDS = 10;
const MOST_BYTES = 256 * 2 ** 20;

/** Loading fails with this code, names what is wrong and a remedy, soon and without taking memory for what the file claims. */
export async function refusesModel(folder: string, code: string, named: string): Promise<void> {
  const device = await openDevice({ device: "cpu" });
  try {
    const before = process.memoryUsage.rss();
    const began = performance.now();
    await expect(loadCausalModel(device, folder)).rejects.toMatchObject({
      kind: "input",
      code,
      message: expect.stringContaining(named),
      hint: expect.stringMatching(/\w/),
    });
    expect((performance.now() - began) / 1000).toBeLessThan(MOST_SECONDS);
    expect(process.memoryUsage.rss() - before).toBeLessThan(MOST_BYTES);
  } finally {
    await device.close();
  }
}
