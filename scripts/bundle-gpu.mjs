// Packs what a Linux machine with only a GPU driver lacks into .gpu/ (ignored by git): node, the compiled packages and
// their dependencies, the kernels, and the shared libraries they open. There, in the repository root: `. .gpu/enter.sh`, then any of
// scripts/test-gpu.mjs, scripts/bench-gpu.mjs or, for all results at once, scripts/gpu/check-all.sh.
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { enterScript } from "./lib/bundle-enter.mjs";
import { sharedLibraries } from "./lib/bundle-libraries.mjs";
import { bundledDependencies, bundledPackages } from "./lib/bundle-modules.mjs";
import { listFiles } from "./lib/files.mjs";
import { inRoot, root } from "./lib/paths.mjs";
import { findCommand, mustRun, output } from "./lib/process.mjs";
import { main, parseFlags, ScriptError, say } from "./lib/report.mjs";
import { checkStamp } from "./lib/stamp.mjs";

const limit = 60 * 1024 * 1024;
const target = inRoot(".gpu");

/**
 * Archives paths (relative to `cwd`) as .gpu/<name>.tar.xz; `follow` archives what links point at.
 * `keep`: large files that hardly ever change, archived again only when they did.
 */
function archive(name, cwd, paths, { follow = false, keep = false, exclude = [] } = {}) {
  const file = join(target, `${name}.tar.xz`);
  const inputs = paths.map((path) => join(cwd, path));
  const stamp = keep ? checkStamp(`bundle-${name}`, { inputs, outputs: [file] }) : undefined;
  if (stamp?.fresh) return;
  const excludes = exclude.map((pattern) => `--exclude=${pattern}`);
  const args = ["-c", "-J", ...(follow ? ["-h"] : []), ...excludes, "-f", file, "-C", cwd, "--", ...paths];
  mustRun(`Packing ${name}`, "tar", args, { env: { XZ_OPT: "-T0 -6" } });
  stamp?.commit();
}

await main(() => {
  parseFlags(process.argv.slice(2), {});
  if (process.platform !== "linux") {
    throw new ScriptError("Expected Linux, whose binaries the bundle holds", { exitCode: 4 });
  }
  for (const command of ["tar", "xz", "ldd"]) {
    if (!findCommand(command)) throw new ScriptError(`Expected the command ${command} on PATH`, { exitCode: 4 });
  }
  const native = listFiles(inRoot("build/native"), (file) => /\.(node|so)$/.test(file));
  const headers = listFiles(inRoot("build/abi"));
  if (native.length === 0 || headers.length === 0) {
    throw new ScriptError("Expected built kernels in build/native but found none", { hint: "Run: npm run setup" });
  }

  mkdirSync(target, { recursive: true });
  const relative = (file) => file.slice(root.length + 1);
  const packages = bundledPackages();
  // What scripts/gpu needs of the facade, whose other parts decode media.
  const facade = ["assemble.js", "features.js", "random-encoder.js", "run-chunks.js"].map(
    (name) => `packages/krait/dist/${name}`,
  );
  const compiled = packages.flatMap((name) => [`packages/${name}/package.json`, `packages/${name}/dist`]);
  archive(
    "tree",
    root,
    [...compiled, ...facade, ...bundledDependencies(packages), ...[...native, ...headers].map(relative)],
    {
      exclude: ["*.map", "*.d.ts", "*.d.mts", "*.d.cts", ".tsbuildinfo"],
    },
  );
  archive(
    "libraries",
    "/",
    sharedLibraries(native).map((file) => file.slice(1)),
    { follow: true, keep: true },
  );
  archive("node", join(process.execPath, ".."), ["node"], { follow: true, keep: true });
  writeFileSync(join(target, "enter.sh"), enterScript(packages));
  writeFileSync(join(target, "commit"), `${output("git", ["rev-parse", "HEAD"]) ?? "unknown"}\n`);

  const sizes = listFiles(target).map((file) => [relative(file), statSync(file).size]);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  for (const [file, size] of sizes) say(`${(size / 2 ** 20).toFixed(1).padStart(6)} MiB  ${file}`);
  say(`${(total / 2 ** 20).toFixed(1).padStart(6)} MiB  in all`);
  if (total > limit) throw new ScriptError(`Expected a bundle below ${limit / 2 ** 20} MiB`);
});
