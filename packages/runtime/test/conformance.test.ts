import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadCaseTables, placeInFile, runCase, tableCases, uncovered } from "../src/conformance/index.js";
import { type Device, inspectCuda, openDevice } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const tables = await loadCaseTables();
const cuda = inspectCuda();

test("every op with kernels has a case table", () => {
  expect(uncovered(tables)).toEqual([]);
});

const devices = [
  { kind: "cpu", dtypes: ["f32", "bf16"], available: true },
  { kind: "cuda", dtypes: ["f32", "bf16"], available: cuda.devices > 0 },
] as const;

for (const { kind, dtypes, available } of devices) {
  describe.skipIf(!available)(`ops on ${kind} against float64, seed ${seed}`, () => {
    let device: Device;
    beforeAll(async () => {
      device = await openDevice({ device: kind });
    });
    afterAll(() => device.close());
    for (const table of tables) {
      for (const dtype of dtypes) {
        test(`${table.op} ${dtype}`, { timeout: 300_000 }, async () => {
          const failures: string[] = [];
          for (const one of tableCases(table, seed)) {
            const result = await runCase(device, table.op, one, dtype);
            if (result.failure) failures.push(`${result.name}: ${result.failure}`);
          }
          expect(failures).toEqual([]);
        });
      }
    }
  });
}

describe(`ops whose weights lie in a file, seed ${seed}`, () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice({ device: "cpu" });
  });
  afterAll(() => device.close());
  for (const dtype of ["f32", "bf16"] as const) {
    test.each(tables.map((table) => [table.op, table] as const))(`%s ${dtype}`, async (op, table) => {
      const failures: string[] = [];
      for (const one of tableCases(table, seed)) {
        const result = await runCase(device, op, one, dtype, placeInFile(device));
        if (result.failure) failures.push(`${result.name}: ${result.failure}`);
      }
      expect(failures).toEqual([]);
    });
  }
});
