import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { findCycles } from "./cycles.mjs";
import { listFiles } from "./files.mjs";
import { checkBareImport, layerNames } from "./import-rules.mjs";
import { scanImports } from "./import-scan.mjs";
import { packageNames } from "./paths.mjs";

/** The source file that a relative import names: ./a.js is a.ts in the sources. */
function resolveSource(from, specifier) {
  const target = resolve(dirname(from), specifier);
  return [target.replace(/\.js$/, ".ts"), target].find((file) => existsSync(file));
}

function checkPackage(base, folder, manifests) {
  const home = join(base, "packages", folder);
  const files = ["src", "bin"].flatMap((dir) => listFiles(join(home, dir), (file) => /\.[cm]?[jt]s$/.test(file)));
  const problems = [];
  const edges = new Map();
  for (const file of files) {
    edges.set(file, []);
    for (const found of scanImports(file)) {
      const report = (text) => problems.push(`${relative(base, file)}:${found.line} ${text}`);
      const { specifier } = found;
      if (!specifier.startsWith(".") && !specifier.startsWith("/")) {
        const problem = checkBareImport(folder, specifier, manifests);
        if (problem) report(problem);
        continue;
      }
      if (!resolve(dirname(file), specifier).startsWith(home + sep)) {
        report(`imports ${specifier}, which lies outside its package`);
        continue;
      }
      const target = resolveSource(file, specifier);
      if (target && found.static) edges.get(file).push(target);
    }
  }
  for (const cycle of findCycles(edges)) {
    const path = cycle.map((file) => relative(home, file)).join(" → ");
    problems.push(`packages/${folder} has an import cycle: ${path} (an \`import type\` would be none)`);
  }
  return { count: files.length, problems };
}

/**
 * Holds the import rules in a tree of packages.
 *
 * @param {string} base the folder that holds packages/
 */
export function checkTree(base) {
  const folders = packageNames(base);
  const manifests = new Map(
    folders.map((folder) => [folder, JSON.parse(readFileSync(join(base, "packages", folder, "package.json"), "utf8"))]),
  );
  let files = 0;
  const problems = [];
  for (const folder of folders) {
    if (!layerNames.includes(folder)) {
      problems.push(`packages/${folder} is not in the list of layers in scripts/lib/import-rules.mjs`);
      continue;
    }
    const result = checkPackage(base, folder, manifests);
    files += result.count;
    problems.push(...result.problems);
  }
  return { files, packages: folders.length, problems };
}
