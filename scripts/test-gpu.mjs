// Holds the CUDA kernels to the float64 references, the laws of stacks on the GPU, and the demo's encoder to the CPU's features.
// Needs only node, the driver and the bundle: node scripts/test-gpu.mjs [--out FILE.json] [--only OP] [--small] [--demo FILE] [--jobs N]
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkLaws, lawLayouts } from "../packages/nn/dist/conformance/index.js";
import { loadCaseTables, runCase, tableCases } from "../packages/runtime/dist/conformance/index.js";
import { inspectCuda, openDevice } from "../packages/runtime/dist/index.js";
import { commitOf } from "./gpu/commit.mjs";

const { values: flags } = parseArgs({
  options: {
    out: { type: "string" },
    only: { type: "string" },
    small: { type: "boolean" },
    demo: { type: "string" },
    // Processes that run side by side: the float64 references take most of the time.
    jobs: { type: "string", default: String(availableParallelism()) },
  },
});
const cuda = inspectCuda();
if (cuda.devices === 0) {
  console.log(`No CUDA device: ${cuda.reason}`);
  console.log("0 passed, 0 failed, 1 skipped");
  process.exit(0);
}

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const device = await openDevice({ device: "cuda" });
const description = device.describe();
console.log(JSON.stringify(description), `seed ${seed}`);
const rows = [];
const record = (row) => {
  rows.push(row);
  const verdict = row.failures?.length ? "FAIL" : "ok";
  console.log(`${verdict.padEnd(5)}${row.id.padEnd(58)} worst ${row.error.toExponential(2)}  bound ${row.bound}`);
  for (const failure of row.failures?.slice(0, 5) ?? []) console.log(`       ${failure}`);
};

/** JSON has no infinity. */
const finite = (row) => ({ ...row, error: row.error ?? Number.POSITIVE_INFINITY });

/** The rows of one op, from a process of its own. */
function rowsOf(op, folder) {
  const out = join(folder, `${op}.json`);
  const args = [process.argv[1], "--only", op, "--out", out, ...(flags.small ? ["--small"] : [])];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env: { ...process.env, KRAIT_SEED: String(seed) } }, (error, _, stderr) => {
      if (existsSync(out)) resolve(JSON.parse(readFileSync(out, "utf8")).rows.map(finite));
      else resolve([{ id: op, error: 0, bound: 0, failures: [`no result: ${error?.message} ${stderr}`] }]);
    });
  });
}

async function opsSideBySide(ops) {
  const folder = mkdtempSync(join(tmpdir(), "krait-test-gpu-"));
  const results = new Map();
  const waiting = [...ops];
  const worker = async () => {
    for (let op = waiting.shift(); op !== undefined; op = waiting.shift()) results.set(op, await rowsOf(op, folder));
  };
  await Promise.all(Array.from({ length: Number(flags.jobs) }, worker));
  rmSync(folder, { recursive: true });
  return ops.flatMap((op) => results.get(op));
}

const tables = await loadCaseTables();
const aside = !flags.only && Number(flags.jobs) > 1 ? opsSideBySide(tables.map((table) => table.op)) : undefined;
for (const table of tables) {
  if (aside || (flags.only && table.op !== flags.only)) continue;
  for (const dtype of ["f32", "bf16"]) {
    let cases = tableCases(table, seed);
    if (flags.small) cases = cases.filter((c) => Object.values(c.inputs).every((t) => t.data.length < 20_000));
    const failures = [];
    let error = 0;
    let bound = 0;
    for (const one of cases) {
      const result = await runCase(device, table.op, one, dtype);
      error = Math.max(error, result.error);
      bound = Math.max(bound, result.bound);
      if (result.failure) failures.push(`${result.name}: ${result.failure}`);
    }
    record({ id: `${table.op}/${dtype}`, cases: cases.length, error, bound, failures });
  }
}
if (!flags.only && !flags.small) {
  for (const [name, layout] of Object.entries(lawLayouts)) {
    for (const dtype of ["f32", "bf16"]) {
      for (const { law, error, bound } of await checkLaws(device, layout, dtype, seed)) {
        const failures = error <= bound ? [] : [`${error} is beyond ${bound}`];
        record({ id: `law/${name}/${dtype}/${law.slice(0, 36)}`, error, bound, failures });
      }
    }
  }
}
if (!flags.only && !flags.small) {
  const { checkCheckpoints } = await import("./gpu/checkpoints-check.mjs");
  for (const row of await checkCheckpoints(device)) record(row);
}
for (const row of (await aside) ?? []) record(row);
// What needs the device's memory for itself.
if (!flags.only && !flags.small) {
  const { checkHuge } = await import("./gpu/huge-check.mjs");
  for (const row of await checkHuge(device)) {
    record({ ...row, failures: row.error <= row.bound ? [] : [`${row.error} is beyond ${row.bound}`] });
  }
  const { checkRefusals } = await import("./gpu/refusals.mjs");
  for (const { id, failures } of await checkRefusals(cuda.devices)) record({ id, error: 0, bound: 0, failures });
}
await device.close();
if (flags.demo && existsSync(flags.demo)) {
  const { checkDemo } = await import("./gpu/demo-check.mjs");
  for (const row of await checkDemo(flags.demo)) {
    record({ ...row, failures: row.error <= row.bound ? [] : [`${row.error} is beyond ${row.bound}`] });
  }
} else if (!flags.only) {
  console.log("The demo's encoder was not checked: give --demo FILE of scripts/store-demo-input.mjs");
}

const failed = rows.filter((r) => r.failures.length > 0).length;
if (flags.out) {
  const result = { device: description, date: new Date().toISOString(), commit: commitOf(), seed, rows };
  writeFileSync(flags.out, `${JSON.stringify(result, null, 1)}\n`);
}
console.log(`${rows.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
