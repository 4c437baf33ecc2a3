import { findCommand, output, run } from "./process.mjs";
import { say } from "./report.mjs";

let privilege;
let updated = false;

/** How to become root without asking: [] as root, ["sudo", "-n"] where that works, undefined otherwise. */
function rootPrefix() {
  privilege ??= {
    prefix:
      process.getuid?.() === 0
        ? []
        : findCommand("sudo") && output("sudo", ["-n", "true"]) !== undefined
          ? ["sudo", "-n"]
          : undefined,
  };
  return privilege.prefix;
}

export const hasApt = () => Boolean(findCommand("apt-get"));
export const canInstall = () => hasApt() && rootPrefix() !== undefined;

function apt(args, log) {
  const [command, ...rest] = [...rootPrefix(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...args];
  return run(command, rest, { log }) === 0;
}

/**
 * Installs Debian packages without recommended ones; true when apt-get says so.
 *
 * @param keepDocs packages whose files under /usr/share/doc are wanted even where dpkg is told to leave those out
 */
export function installWithApt(packages, { log, keepDocs = [] } = {}) {
  if (!updated) {
    updated = true;
    if (!apt(["update", "-q"], log && `${log}-update`)) say("apt-get update failed; trying with the lists at hand");
  }
  const include = keepDocs.flatMap((name) => ["-o", `Dpkg::Options::=--path-include=/usr/share/doc/${name}/*`]);
  const wait = ["-o", "DPkg::Lock::Timeout=120"];
  return apt(["install", "-y", "-q", "--no-install-recommends", ...wait, ...include, ...packages], log);
}
