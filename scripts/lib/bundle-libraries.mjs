import { existsSync } from "node:fs";
import { output } from "./process.mjs";

/** Any Linux that can run Node has these. */
const everywhere = /^(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s))\.so/;
/** Come with the driver and must fit it. */
const driver = /^lib(cuda|nvidia).*\.so/;
/** Opened at run time, so that no binary names them. */
const opened = ["libdnnl.so.2"];

/** Paths of the libraries that a binary is linked to, by what the dynamic loader finds here. */
function linkedTo(file) {
  const lines = (output("ldd", [file]) ?? "").split("\n");
  return lines
    .map((line) => /^\s*(\S+) => (\/\S+)/.exec(line))
    .filter(Boolean)
    .map(([, name, path]) => ({ name, path }));
}

function find(name) {
  const cache = output("/sbin/ldconfig", ["-p"]) ?? "";
  const path = cache
    .split("\n")
    .map((line) => line.trim())
    .find((line) => line.startsWith(`${name} `))
    ?.split("=> ")[1];
  return path && existsSync(path) ? path : undefined;
}

/** Paths of the shared libraries, beyond those of any system, that these binaries need when they run. */
export function sharedLibraries(binaries) {
  const extra = opened.map(find).filter(Boolean);
  const libraries = new Set(extra);
  for (const binary of [...binaries, ...extra]) {
    // ldd walks the whole tree of what a binary is linked to.
    for (const { name, path } of linkedTo(binary)) {
      if (!everywhere.test(name) && !driver.test(name) && !binaries.includes(path)) libraries.add(path);
    }
  }
  return [...libraries].sort();
}
