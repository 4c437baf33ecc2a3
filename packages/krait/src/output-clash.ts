import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { expected, UsageError } from "@krait/core";
import { fileOfSource, type Source } from "./sources.js";

/** Results must not replace what they are made of, nor each other. Throws `UsageError` (OUTPUT_CLASH). */
export async function refuseClashes(sources: readonly Source[], targets: readonly string[]): Promise<void> {
  const clash = (target: string, received: string): never => {
    throw new UsageError(expected("a file of its own", "a result", target), {
      code: "OUTPUT_CLASH",
      hint: `${received}: name another file to write.`,
    });
  };
  for (const [i, target] of targets.entries()) {
    if (targets.slice(0, i).some((other) => resolve(other) === resolve(target)))
      clash(target, "Another result has the same path");
    const existing = await stat(target).catch(() => undefined);
    if (existing === undefined) continue;
    for (const source of sources) {
      const path = fileOfSource(source);
      const input = path === undefined ? undefined : await stat(path).catch(() => undefined);
      if (input?.ino === existing.ino && input.dev === existing.dev) clash(target, "It is an input");
    }
  }
}
