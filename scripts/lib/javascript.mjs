import { inRoot, packageNames } from "./paths.mjs";
import { mustRun } from "./process.mjs";
import { say } from "./report.mjs";
import { checkStamp } from "./stamp.mjs";

/** Runs on Node 20; later major versions do not. */
const pnpm = "pnpm@12.21.0";

/** Installs the JavaScript dependencies exactly as pnpm-lock.yaml names them, when that or a manifest has changed. */
export function installJavaScript({ quiet }) {
  const manifests = packageNames().map((name) => inRoot("packages", name, "package.json"));
  const stamp = checkStamp("javascript", {
    inputs: [inRoot("package.json"), inRoot("pnpm-lock.yaml"), inRoot("pnpm-workspace.yaml"), ...manifests],
    outputs: [inRoot("node_modules/.bin/krait"), inRoot("node_modules/.bin/tsc"), inRoot("node_modules/.bin/vitest")],
    extra: `${pnpm} ${process.platform} ${process.arch} ${process.versions.modules}`,
    // Goes with the folder it speaks of.
    file: inRoot("node_modules/.krait/javascript.json"),
  });
  if (stamp.fresh) {
    if (!quiet) say("JavaScript dependencies: up to date");
    return;
  }
  say("Installing JavaScript dependencies");
  // Without a terminal pnpm must not stop to ask whether it may replace node_modules.
  const args = ["-y", pnpm, "install", "--frozen-lockfile", "--config.confirm-modules-purge=false"];
  mustRun("Installing the JavaScript dependencies", "npx", args, {
    log: quiet ? "pnpm" : undefined,
    exitCode: 4,
    hint: "Needed: the npm registry (or a mirror in ~/.npmrc), and a pnpm-lock.yaml that fits every package.json.",
  });
  stamp.commit();
}
