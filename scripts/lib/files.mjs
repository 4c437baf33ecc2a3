import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Every file below `path` that `keep` accepts, sorted; `path` itself when it is a file; nothing when it is missing. */
export function listFiles(path, keep = () => true) {
  let entries;
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch (error) {
    if (error.code === "ENOTDIR") return keep(path) ? [path] : [];
    if (error.code === "ENOENT") return [];
    throw error;
  }
  const files = [];
  for (const entry of entries) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== "node_modules") files.push(...listFiles(inner, keep));
    } else if (keep(inner)) files.push(inner);
  }
  return files.sort();
}

/** Writes only what differs, so that tools that go by times (ninja, tsc) rebuild nothing needlessly. True when written. */
export function writeIfChanged(path, text) {
  if (existsSync(path) && readFileSync(path, "utf8") === text) return false;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return true;
}
