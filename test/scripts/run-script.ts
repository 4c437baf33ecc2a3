import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

const scripts = fileURLToPath(new URL("../../scripts", import.meta.url));

/** Runs one of the repository's scripts and returns its exit code and all it said. */
export function runScript(name: string, args: string[], env: Record<string, string> = {}) {
  const result = spawnSync(process.execPath, [join(scripts, name), ...args], {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  return { code: result.status, text: result.stdout + result.stderr };
}

/** A temporary folder with these files, removed after the test. */
export function plant(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "krait-scripts-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}
