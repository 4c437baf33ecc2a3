import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { listFiles, writeIfChanged } from "./files.mjs";
import { opIndex } from "./op-index.mjs";
import { inRoot, packageNames } from "./paths.mjs";
import { mustRun } from "./process.mjs";
import { ScriptError, say } from "./report.mjs";
import { checkStamp } from "./stamp.mjs";

/** Removes compiled files whose source is gone, which tsc leaves behind and packages would ship. */
function prune(name) {
  const dist = inRoot("packages", name, "dist");
  for (const file of listFiles(dist)) {
    const [, stem] = /^(.*?)(\.d\.ts|\.js)(\.map)?$/.exec(file.slice(dist.length + 1)) ?? [];
    if (stem && !existsSync(inRoot("packages", name, "src", `${stem}.ts`))) rmSync(file);
  }
}

/** Writes the op index and compiles every package. */
export function buildTypeScript({ quiet }) {
  const ops = inRoot("packages/graph/src/ops");
  if (existsSync(ops)) writeIfChanged(join(ops, "index.ts"), opIndex(ops));

  const names = packageNames();
  const stamp = checkStamp("typescript", {
    inputs: [
      inRoot("tsconfig.json"),
      inRoot("tsconfig.base.json"),
      inRoot("pnpm-lock.yaml"),
      ...names.flatMap((name) => [
        inRoot("packages", name, "package.json"),
        inRoot("packages", name, "tsconfig.json"),
        ...listFiles(inRoot("packages", name, "src")),
      ]),
    ],
    outputs: names.map((name) => inRoot("packages", name, "dist/index.js")),
  });
  if (stamp.fresh) {
    if (!quiet) say("TypeScript: up to date");
    return;
  }
  say("Compiling TypeScript");
  for (const name of names) {
    prune(name);
    // Without its outputs a build record only makes tsc believe that there is nothing to do.
    const dist = inRoot("packages", name, "dist");
    if (!existsSync(join(dist, "index.js"))) rmSync(join(dist, ".tsbuildinfo"), { force: true });
  }
  mustRun("Compiling TypeScript", process.execPath, [inRoot("node_modules/typescript/bin/tsc"), "-b"], {
    log: quiet ? "typescript" : undefined,
  });
  stamp.commit();
}

/** Writes the C headers of the op definitions into build/abi. */
export function generateAbi({ quiet }) {
  const script = inRoot("scripts/generate-abi.mjs");
  const target = inRoot("build/abi");
  if (!existsSync(script)) {
    throw new ScriptError(
      "Expected scripts/generate-abi.mjs, which writes the kernels' headers, but it does not exist",
    );
  }
  const stamp = checkStamp("abi", {
    inputs: [
      script,
      ...["core", "graph"].flatMap((name) =>
        listFiles(inRoot("packages", name, "dist"), (file) => file.endsWith(".js")),
      ),
    ],
    outputs: [target],
  });
  if (stamp.fresh && listFiles(target).length > 0) {
    if (!quiet) say("Kernel headers: up to date");
    return;
  }
  say("Generating kernel headers");
  mkdirSync(target, { recursive: true });
  mustRun("Generating the kernel headers", process.execPath, [script, "build/abi"], { log: quiet ? "abi" : undefined });
  stamp.commit();
}
