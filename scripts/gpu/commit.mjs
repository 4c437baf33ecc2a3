import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** The commit that is checked out; where there is no repository, the one that was noted when the bundle was packed. */
export function commitOf() {
  try {
    const cwd = new URL("../..", import.meta.url);
    return execFileSync("git", ["rev-parse", "HEAD"], {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return readFileSync(new URL("../../.gpu/commit", import.meta.url), "utf8").trim();
  }
}
