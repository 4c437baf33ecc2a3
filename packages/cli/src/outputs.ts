import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { EncodePlan } from "./commands/encode-options.js";
import { UsageFault } from "./fault.js";

/**
 * Finds out before the work whether its results can be written where they shall go, and that no input is written over.
 * Throws `UsageFault` and environment errors (OUTPUT_FOLDER_MISSING, OUTPUT_NOT_WRITABLE).
 */
export async function checkOutputs({ inputs, out, page }: Pick<EncodePlan, "inputs" | "out" | "page">): Promise<void> {
  const targets = page === undefined ? [out] : [out, page];
  if (page !== undefined && resolve(page) === resolve(out)) throw clash(`--page ${page}`, "the feature file itself");
  for (const target of targets) {
    await checkFolder(target);
    const existing = await stat(target).catch(() => undefined);
    if (existing === undefined) continue;
    if (!existing.isFile()) throw clash(target, existing.isDirectory() ? "a directory" : "a device or pipe");
    for (const input of inputs) {
      if (!("file" in input)) continue;
      const source = await stat(input.file).catch(() => undefined);
      if (source?.ino === existing.ino && source.dev === existing.dev) throw clash(target, "the path of an input");
    }
  }
}

async function checkFolder(target: string): Promise<void> {
  const folder = dirname(resolve(target));
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw environment(
      `Expected an existing folder for ${target} but received ${found ? "a file" : "none"} at ${folder}`,
      "OUTPUT_FOLDER_MISSING",
      `Create the folder first: mkdir -p ${folder}`,
    );
  }
  await access(folder, constants.W_OK | constants.X_OK).catch((cause: NodeJS.ErrnoException) => {
    throw environment(
      `Expected a writable folder for ${target} but received ${cause.code}`,
      "OUTPUT_NOT_WRITABLE",
      "Check the permissions of the folder, or write elsewhere.",
    );
  });
}

function clash(name: string, received: string): UsageFault {
  return new UsageFault(
    `Expected a file of its own for ${name} but received ${received}`,
    "OUTPUT_CLASH",
    "Name another file to write.",
  );
}

/** Looks like the SDK's `EnvironmentError`, which is not loaded yet. */
function environment(message: string, code: string, hint: string): Error {
  return Object.assign(new Error(message), { [Symbol.for("krait.error")]: true, kind: "environment", code, hint });
}
