import { existsSync, lstatSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { inRoot, root } from "./paths.mjs";

/** Packages whose programs a GPU machine runs; what they import comes along. Media is decoded elsewhere. */
const wanted = ["graph", "runtime", "nn", "formats", "tokenizers"];

/** Their imports are deferred to the first use, and they are large or native: decoding and vision models. */
const leftOut = new Set(["sharp", "onnxruntime-node"]);

const readManifest = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const dependenciesOf = (manifest) =>
  Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }).filter((name) => !leftOut.has(name));

/** The folders under packages/ that the wanted ones need, themselves included. */
export function bundledPackages() {
  const found = new Set();
  const add = (folder) => {
    if (found.has(folder) || !existsSync(inRoot("packages", folder))) return;
    found.add(folder);
    for (const name of dependenciesOf(readManifest(inRoot("packages", folder)))) {
      if (name.startsWith("@krait/")) add(name.slice("@krait/".length));
    }
  };
  wanted.forEach(add);
  return [...found].sort();
}

/** The link or folder that `name` resolves to from a package's own folder, going up as Node does. */
function findModule(from, name) {
  for (let dir = from; dir.startsWith(root); dir = dirname(dir)) {
    const candidate = join(dir, "node_modules", name);
    if (existsSync(candidate)) return candidate;
  }
  return undefined;
}

/**
 * Paths, relative to the root, of every dependency of these packages: the links and the folders they lead to, in the
 * layout that pnpm gave them.
 */
export function bundledDependencies(packages) {
  const paths = new Set();
  const visited = new Set();
  const visit = (folder) => {
    if (visited.has(folder)) return;
    visited.add(folder);
    for (const name of dependenciesOf(readManifest(folder))) {
      const place = findModule(folder, name);
      // Optional dependencies for other platforms are not installed.
      if (!place) continue;
      const real = realpathSync(place);
      paths.add(place.slice(root.length + 1));
      if (lstatSync(place).isSymbolicLink() && real.includes(`${join("node_modules", ".pnpm")}/`)) {
        paths.add(real.slice(root.length + 1));
      }
      visit(real);
    }
  };
  for (const name of packages) visit(inRoot("packages", name));
  return [...paths].sort();
}
