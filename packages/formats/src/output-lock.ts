import { open, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { expected, UsageError } from "@krait/core";
import { parseStrictJson } from "./json.js";

/**
 * Claims a name for one writer by a small file that says who holds it. A claim whose process is gone is taken over.
 * Throws `UsageError` (OUTPUT_BUSY) and what the file system throws.
 */
export async function claimOutput(lockPath: string): Promise<void> {
  const claim = JSON.stringify({ pid: process.pid, host: hostname() });
  for (let attempt = 0; ; attempt++) {
    try {
      const handle = await open(lockPath, "wx");
      try {
        await handle.writeFile(claim);
      } catch (error) {
        // A claim without a name on a full disk would keep everybody out.
        await rm(lockPath, { force: true });
        throw error;
      } finally {
        await handle.close();
      }
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (attempt > 0 || (await isHeld(lockPath))) {
      throw new UsageError(expected("an output that nobody else writes", lockPath, "a claim of another writer"), {
        code: "OUTPUT_BUSY",
        hint: `Wait for the other run, or write elsewhere; if no run is left, delete ${lockPath}.`,
      });
    }
    await rm(lockPath, { force: true });
  }
}

async function isHeld(lockPath: string): Promise<boolean> {
  try {
    const claim = parseStrictJson(await readFile(lockPath), lockPath, { maxBytes: 4096 }) as {
      pid: number;
      host: string;
    };
    if (claim.host !== hostname()) return true;
    process.kill(claim.pid, 0);
    return true;
  } catch (error) {
    // No such process: the writer died. A claim that cannot be read may be one that is just being written.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
