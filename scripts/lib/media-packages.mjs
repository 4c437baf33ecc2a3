import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
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

/** Downloads a package, which needs no root, and keeps what is wanted of it under build/media. */
function unpack({ apt, probe }, log) {
  if (!hasApt() || !findCommand("dpkg-deb")) return;
  const work = join(unpacked, ".work");
  mkdirSync(work, { recursive: true });
  try {
    if (run("apt-get", ["download", "-q", apt], { cwd: work, log }) !== 0) return;
    const file = readdirSync(work).find((entry) => entry.startsWith(`${apt}_`));
    if (!file || run("dpkg-deb", ["-x", join(work, file), work], { log }) !== 0) return;
    mkdirSync(dirname(join(unpacked, probe)), { recursive: true });
    renameSync(join(work, probe), join(unpacked, probe));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
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
  for (const entry of missing()) unpack(entry, log(entry.apt));
  if (missing().length > 0) {
    say(
      `Note: the Debian packages ${missing()
        .map((entry) => entry.apt)
        .join(" and ")} could not be had; the demo makes its own clip and tests on real recordings are skipped.`,
    );
    memory.remember();
  }
}
