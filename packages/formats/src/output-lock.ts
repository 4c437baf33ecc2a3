import { open, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { expected, UsageError } from "@krait/core";
import { parseStrictJson } from "./json.js";

/** Bytes of a claim with what it carries: options with long texts in them may stand there. */
export const maxClaimBytes = 64 * 2 ** 20;

/**
 * Claims a name for one writer by a file that says who holds it, and carries `notes` for whoever finds it. A claim whose process is gone,
 * or that was released, is taken over. Throws `UsageError` (OUTPUT_BUSY) and what the file system throws.
 */
export async function claimOutput(lockPath: string, notes: object = {}): Promise<void> {
  const claim = JSON.stringify({ pid: process.pid, host: hostname(), ...notes });
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

/** Leaves a claim's notes for whoever comes next, held by nobody. */
export async function releaseOutput(lockPath: string, notes: object): Promise<void> {
  await writeFile(lockPath, JSON.stringify({ pid: null, host: null, ...notes }));
}

async function isHeld(lockPath: string): Promise<boolean> {
  try {
    const claim = parseStrictJson(await readFile(lockPath), lockPath, { maxBytes: maxClaimBytes }) as {
      pid: number | null;
      host: string | null;
    };
    if (claim.pid === null) return false;
    if (claim.host !== hostname()) return true;
    process.kill(claim.pid, 0);
    return true;
  } catch (error) {
    // No such process: the writer died. A claim that cannot be read may be one that is just being written.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
