import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository root, without a trailing slash. */
export const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");

export const inRoot = (...parts) => join(root, ...parts);

/** Directory names under packages/ that hold a package. */
export function packageNames(base = root) {
  return readdirSync(join(base, "packages"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(base, "packages", entry.name, "package.json")))
    .map((entry) => entry.name)
    .sort();
}
