// Writes the kernel ABI header, generated from the op records, to DIR/krait/ops.h (default build/abi).
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { abiHeader } from "../packages/graph/dist/index.js";

const folder = join(resolve(process.argv[2] ?? "build/abi"), "krait");
const file = join(folder, "ops.h");
mkdirSync(folder, { recursive: true });
let before = "";
try {
  before = readFileSync(file, "utf8");
} catch {
  // First build.
}
const header = abiHeader();
// Untouched when unchanged, so that nothing is compiled again.
if (header !== before) writeFileSync(file, header);
