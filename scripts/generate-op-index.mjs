// Writes packages/graph/src/ops/index.ts from the op files beside it. With --check it writes nothing and fails when stale.
import { join, resolve } from "node:path";
import { writeIfChanged } from "./lib/files.mjs";
import { isOpIndexCurrent, opIndex } from "./lib/op-index.mjs";
import { inRoot } from "./lib/paths.mjs";
import { main, parseFlags, ScriptError, say } from "./lib/report.mjs";

await main(() => {
  const flags = parseFlags(process.argv.slice(2), { check: "flag", dir: "value" });
  const dir = flags.dir ? resolve(flags.dir) : inRoot("packages/graph/src/ops");
  if (!flags.check) {
    if (writeIfChanged(join(dir, "index.ts"), opIndex(dir))) say(`Wrote ${join(dir, "index.ts")}`);
  } else if (!isOpIndexCurrent(dir)) {
    throw new ScriptError(`${join(dir, "index.ts")} is stale`, { hint: "Run: node scripts/generate-op-index.mjs" });
  }
});
