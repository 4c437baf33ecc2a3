// Holds the import rules of packages/: direction, no reaching into another package, only declared dependencies,
// no cycles between the files of a package. --root=DIR checks another tree.
import { resolve } from "node:path";
import { checkTree } from "./lib/import-check.mjs";
import { root } from "./lib/paths.mjs";
import { main, parseFlags, ScriptError, say } from "./lib/report.mjs";

await main(() => {
  const flags = parseFlags(process.argv.slice(2), { root: "value" });
  const { files, packages, problems } = checkTree(flags.root ? resolve(flags.root) : root);
  if (problems.length > 0) throw new ScriptError(`import rules broken:\n  ${problems.join("\n  ")}`);
  say(`Import rules hold in ${files} files of ${packages} packages`);
});
