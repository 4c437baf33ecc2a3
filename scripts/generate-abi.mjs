// Writes the headers that are generated from the op records, krait/ops.h and krait/rules.h, to DIR (default build/abi).
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { abiHeader, rulesHeader } from "../packages/graph/dist/index.js";

const folder = join(resolve(process.argv[2] ?? "build/abi"), "krait");
mkdirSync(folder, { recursive: true });

for (const [name, header] of [
  ["ops.h", abiHeader()],
  ["rules.h", rulesHeader()],
]) {
  const file = join(folder, name);
  let before = "";
  try {
    before = readFileSync(file, "utf8");
  } catch {
    // First build.
  }
  // Untouched when unchanged, so that nothing is compiled again.
  if (header !== before) writeFileSync(file, header);
}
