import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** The commit that the built files come from: of this checkout, or the one noted when the bundle was packed. */
export function commitOf() {
  try {
    return readFileSync(new URL("../../.gpu/commit", import.meta.url), "utf8").trim();
  } catch {
    return execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8" }).trim();
  }
}
