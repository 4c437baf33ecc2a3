// Installs and builds everything that a fresh machine with Node and npm lacks; does nothing when all is there.
//   --quiet   say only what is done     --media   also fetch the recordings of the demo and the tests
//   --cuda, --no-cuda                   as for build.mjs
import { build, buildFlags } from "./build.mjs";
import { installSystem } from "./lib/install-system.mjs";
import { installJavaScript } from "./lib/javascript.mjs";
import { withLock } from "./lib/lock.mjs";
import { installMedia } from "./lib/media-packages.mjs";
import { main, parseFlags, ScriptError } from "./lib/report.mjs";

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 11)) return;
  throw new ScriptError(`Expected Node 20.11 or later but this is ${process.versions.node}`, { exitCode: 4 });
}

await main(async () => {
  const { media, ...flags } = parseFlags(process.argv.slice(2), { ...buildFlags, media: "flag" });
  const quiet = flags.quiet ?? false;
  checkNode();
  await withLock(() => {
    installSystem({ quiet });
    if (media) installMedia({ quiet });
    installJavaScript({ quiet });
    build(flags);
  });
});
