import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { canInstall, hasApt, installWithApt } from "./apt.mjs";
import { gaveUp } from "./install-system.mjs";
import { inRoot } from "./paths.mjs";
import { findCommand, run } from "./process.mjs";
import { say } from "./report.mjs";

/** Debian packages with real recordings: 80 s of a street camera, and 25 s of read English speech. */
const mediaPackages = [
  { apt: "opencv-doc", probe: "usr/share/doc/opencv-doc/examples/data/vtest.avi" },
  { apt: "pocketsphinx-testdata", probe: "usr/share/pocketsphinx/test/data/librivox" },
];

/** Where packages are unpacked when they cannot be installed; same layout as the system's root. */
const unpacked = inRoot("build/media");

/** The path of a file or folder of these packages (given as "usr/share/…"), or undefined when it is not to be had. */
export function findMedia(path) {
  return ["/", unpacked].map((base) => join(base, path)).find((file) => existsSync(file));
}

/** Downloads the package, which needs no root, and unpacks it under build/media. */
function unpack(name, log) {
  if (!hasApt() || !findCommand("dpkg-deb")) return;
  const cwd = inRoot("build/media/.packages");
  mkdirSync(cwd, { recursive: true });
  if (run("apt-get", ["download", "-q", name], { cwd, log }) !== 0) return;
  const file = readdirSync(cwd).find((entry) => entry.startsWith(`${name}_`));
  if (file) run("dpkg-deb", ["-x", join(cwd, file), unpacked], { log });
}

/** Fetches the recordings that the demo and some tests use; goes on with a note where they cannot be had. */
export function installMedia({ quiet }) {
  const missing = () => mediaPackages.filter((entry) => !findMedia(entry.probe));
  const memory = gaveUp("media");
  if (missing().length === 0 || (quiet && memory.before)) {
    if (!quiet) say("Recordings: all there");
    return;
  }
  const names = missing().map((entry) => entry.apt);
  const log = (step) => (quiet ? `media-${step}` : undefined);
  if (hasApt()) say(`Fetching recordings for the demo and the tests: ${names.join(" ")}`);
  if (canInstall()) installWithApt(names, { log: log("install"), keepDocs: names });
  for (const entry of missing()) unpack(entry.apt, log(entry.apt));
  if (missing().length > 0) {
    say(
      `Note: the Debian packages ${missing()
        .map((entry) => entry.apt)
        .join(" and ")} could not be had; the demo makes its own clip and tests on real recordings are skipped.`,
    );
    memory.remember();
  }
}
