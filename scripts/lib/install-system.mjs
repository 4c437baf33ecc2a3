import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { canInstall, installWithApt } from "./apt.mjs";
import { inRoot } from "./paths.mjs";
import { findCommand } from "./process.mjs";
import { ScriptError, say } from "./report.mjs";
import { systemPackages } from "./system-packages.mjs";

const describe = (missing) => missing.map((entry) => `  ${entry.name}: ${entry.purpose}`).join("\n");

/** The commands that install what is missing, the one for this machine first. */
function howTo(missing) {
  const managers = [
    ["apt-get", "apt", "sudo apt-get update && sudo apt-get install -y --no-install-recommends"],
    ["dnf", "dnf", "sudo dnf install -y"],
    ["brew", "brew", "brew install"],
  ];
  managers.sort((a, b) => Number(Boolean(findCommand(b[0]))) - Number(Boolean(findCommand(a[0]))));
  const lines = managers.map(([, key, command]) => `  ${command} ${missing.map((entry) => entry[key]).join(" ")}`);
  return `Install with one of:\n${lines.join("\n")}`;
}

/** Remembers what could not be had, so that a quiet setup neither tries nor warns each time. A plain setup tries again. */
export function gaveUp(name) {
  const file = inRoot("build/.stamps", `gave-up-${name}`);
  return {
    before: existsSync(file),
    remember() {
      mkdirSync(inRoot("build/.stamps"), { recursive: true });
      writeFileSync(file, "");
    },
  };
}

/** Installs the system packages that are missing, where that is possible without a question; throws when a required one stays missing. */
export function installSystem({ quiet }) {
  const required = systemPackages.filter((entry) => entry.required && !entry.present());
  const optional = systemPackages.filter((entry) => !entry.required && !entry.present());
  const skipped = optional.map((entry) => entry.name).join("-");
  const memory = gaveUp(skipped.toLowerCase());
  const wanted = [...required, ...(quiet && memory.before ? [] : optional)];
  if (wanted.length === 0) {
    if (!quiet) say("System packages: all there");
    return;
  }

  if (canInstall()) {
    // Apart, since one package that a distribution lacks would fail the other's installation too.
    for (const group of [required, optional].map((list) => list.filter((entry) => wanted.includes(entry)))) {
      if (group.length === 0) continue;
      const names = group.map((entry) => entry.apt);
      say(`Installing system packages: ${names.join(" ")}`);
      installWithApt(names, quiet ? { log: "apt" } : {});
    }
  }

  const missing = wanted.filter((entry) => !entry.present());
  const fatal = missing.filter((entry) => entry.required);
  if (fatal.length > 0) {
    throw new ScriptError(`System packages are missing and could not be installed from here:\n${describe(fatal)}`, {
      hint: `${howTo(missing)}\nthen run the same command again.`,
      exitCode: 4,
    });
  }
  if (missing.length > 0) {
    say(`Note: going on without optional system packages:\n${describe(missing)}\n${howTo(missing)}`);
    memory.remember();
  }
}
