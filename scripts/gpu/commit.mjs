import { execFileSync } from "node:child_process";

/** The commit that what runs was built from: the bundle's where one was entered, else the one that is checked out. */
export function commitOf() {
  const cwd = new URL("../..", import.meta.url);
  return process.env.KRAIT_COMMIT ?? execFileSync("git", ["rev-parse", "HEAD"], { cwd, encoding: "utf8" }).trim();
}
