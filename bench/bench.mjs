// Times the CPU engine and whatever else has rows: npm run bench -- [--only TEXT] [--quick] [--list] [--threads N] [--out FILE.json] [--into FILE.json]
//
// Every bench/rows/*.mjs exports `rows`: an array of { id, run }, with `run(kit)` giving one flat record of numbers and strings (a result),
// or { skipped: "why" }. By custom: `ms` (median), `floorMs` (roofline), `baselineMs` and `ratio`, or rates as `tokensPerSecond`.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { commitOf } from "../scripts/gpu/commit.mjs";
import { openKit } from "./lib/kit.mjs";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string" },
    quick: { type: "boolean" },
    list: { type: "boolean" },
    threads: { type: "string" },
    out: { type: "string" },
    into: { type: "string" },
  },
});
const folder = new URL("./rows/", import.meta.url);
const files = readdirSync(folder).filter((file) => file.endsWith(".mjs"));
const rows = [];
for (const file of files.sort()) rows.push(...(await import(new URL(file, folder).href)).rows);
const chosen = rows.filter(({ id }) => flags.only === undefined || id.includes(flags.only));
if (flags.list) {
  for (const { id } of chosen) console.log(id);
  process.exit(0);
}

const shown = (value) =>
  typeof value === "number" ? String(Number(value.toPrecision(value >= 1000 ? 6 : 4))) : String(value);
const kit = await openKit({ quick: flags.quick ?? false, threads: Number(flags.threads ?? 0) });
for (const [name, value] of Object.entries(kit.machine)) console.log(`${name.padEnd(28)} ${shown(value)}`);
const results = [];
const write = (to, rows) => writeFileSync(to, `${JSON.stringify({ machine: kit.machine, rows }, null, 1)}\n`);
/** Renews rows of a record: a part of the rows is none of its own, and a run that is cut off keeps what it measured. */
function renew(record, rows) {
  const kept = existsSync(record) ? JSON.parse(readFileSync(record, "utf8")).rows : [];
  write(record, [...new Map([...kept, ...rows].map((row) => [row.id, row])).values()]);
}

for (const { id, run } of chosen) {
  const began = performance.now();
  let result;
  try {
    result = await run(kit);
  } catch (error) {
    result = { failure: error.message };
    process.exitCode = 1;
  }
  // Beside two threads of its own, whatever else the machine does shows in times of the clock.
  results.push({ id, ...result, load: loadavg()[0], date: new Date().toISOString(), commit: commitOf() });
  if (flags.into !== undefined) renew(flags.into, results);
  const fields = Object.entries(result).map(([name, value]) => `${name} ${shown(value)}`);
  console.log(`${id.padEnd(36)} ${fields.join("  ")}  [${((performance.now() - began) / 1000).toFixed(1)} s]`);
}
await kit.close();
const whole = flags.only === undefined && !flags.quick;
const out = flags.out ?? (whole ? new URL("./results/cpu.json", import.meta.url) : undefined);
if (out !== undefined) write(out, results);
