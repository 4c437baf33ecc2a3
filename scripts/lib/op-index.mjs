import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { listFiles } from "./files.mjs";
import { ScriptError } from "./report.mjs";

const header = "// Written by scripts/generate-op-index.mjs from the files beside it.";
const lineWidth = 120;

/** The ops a file declares, in the one form that is allowed: `export const rmsNorm = defineOp("rms_norm", …`. */
function readOps(file) {
  const source = readFileSync(file, "utf8");
  const ops = [...source.matchAll(/^export const (\w+) = defineOp\(\s*"([a-z0-9_]+)"/gm)].map(([, constant, name]) => ({
    constant,
    name,
    file,
  }));
  const calls = source.match(/\bdefineOp\(/g)?.length ?? 0;
  if (calls !== ops.length) {
    throw new ScriptError(
      `Expected every defineOp call in ${file} to read \`export const name = defineOp("snake_case_name", …\` ` +
        `but ${calls - ops.length} of ${calls} do not`,
    );
  }
  return ops;
}

/** `{ a, b }` on one line where it fits and one name a line where it does not, as the formatter writes it. */
function braced(before, names, after) {
  const line = `${before}{ ${names.join(", ")} }${after}`;
  if (line.length <= lineWidth) return line;
  return `${before}{\n${names.map((name) => `  ${name},`).join("\n")}\n}${after}`;
}

/** The text of ops/index.ts for the op files in `dir`. */
export function opIndex(dir) {
  const files = listFiles(
    dir,
    (file) => file.endsWith(".ts") && basename(file) !== "index.ts" && join(dir, basename(file)) === file,
  );
  const ops = files.flatMap(readOps);
  for (const key of ["name", "constant"]) {
    const seen = new Map();
    for (const op of ops) {
      const other = seen.get(op[key]);
      if (other) throw new ScriptError(`Expected one op named ${op[key]} but found it in ${other.file} and ${op.file}`);
      seen.set(op[key], op);
    }
  }

  const modules = files
    .map((file) => ({
      stem: basename(file, ".ts"),
      names: ops
        .filter((op) => op.file === file)
        .map((op) => op.constant)
        .sort(naturally),
    }))
    .filter((module) => module.names.length > 0)
    .sort((a, b) => naturally(a.stem, b.stem));
  const sorted = [...ops].sort((a, b) => (a.name < b.name ? -1 : 1));
  const entries = sorted.map((op) => `${op.constant}.op`);
  const oneLine = `export const allOps: readonly Op[] = [${entries.join(", ")}];`;
  return [
    header,
    'import type { Op } from "../op.js";',
    ...modules.map((module) => braced("import ", module.names, ` from "./${module.stem}.js";`)),
    "",
    ...modules.map((module) => braced("export ", module.names, ` from "./${module.stem}.js";`)),
    "",
    "/** Every op, sorted by name: what the generators and the conformance tests walk. */",
    oneLine.length <= lineWidth
      ? oneLine
      : `export const allOps: readonly Op[] = [\n${entries.map((entry) => `  ${entry},`).join("\n")}\n];`,
    "",
  ].join("\n");
}

/** As the linter sorts names: numbers in them by value. */
function naturally(a, b) {
  return new Intl.Collator("en", { numeric: true, caseFirst: "upper" }).compare(a, b);
}

/** Whether the index on disk is the one that the files ask for. */
export function isOpIndexCurrent(dir) {
  const file = join(dir, "index.ts");
  return existsSync(file) && readFileSync(file, "utf8") === opIndex(dir);
}
