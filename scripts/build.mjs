// Compiles TypeScript, generates the kernels' headers and builds the kernels; each step only when its inputs changed.
//   --native     only the kernels      --cuda, --no-cuda   insist on the CUDA plugin, or leave it out (default: when nvcc is found)
//   --sanitize=address,undefined       a build for kernel tests, in build/sanitize and without CUDA unless asked for
//   --quiet      say only what is done
import { pathToFileURL } from "node:url";
import { buildNative } from "./lib/build-native.mjs";
import { buildTypeScript, generateAbi } from "./lib/build-typescript.mjs";
import { withLock } from "./lib/lock.mjs";
import { main, parseFlags, ScriptError } from "./lib/report.mjs";

/** The flags that choose what is built, shared with setup. */
export const buildFlags = { cuda: "flag", "no-cuda": "flag", quiet: "flag" };

export function build(flags) {
  if (flags.cuda && flags["no-cuda"]) {
    throw new ScriptError("Expected at most one of --cuda and --no-cuda but received both", { exitCode: 2 });
  }
  const quiet = flags.quiet ?? false;
  if (!flags.native) {
    buildTypeScript({ quiet });
    generateAbi({ quiet });
  }
  const cuda = flags.cuda ? "ON" : flags["no-cuda"] || flags.sanitize ? "OFF" : "AUTO";
  buildNative({ quiet, cuda, sanitize: flags.sanitize });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    const flags = parseFlags(process.argv.slice(2), { ...buildFlags, native: "flag", sanitize: "value" });
    await withLock(() => build(flags));
  });
}
