// npm run demo: encodes a clip with sound, and a paragraph about it, with the command itself, and says what came out.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { inRoot } from "../../scripts/lib/paths.mjs";
import { makeClip } from "./clip.mjs";

const folder = inRoot("out/demo");
const paragraph = fileURLToPath(new URL("paragraph.txt", import.meta.url));
const shown = (path) => relative(process.cwd(), path) || path;
const counted = (value) => value.toLocaleString("en-US");

/** Runs the command and returns its exit code and what it printed. Its progress goes to our standard error. */
function krait(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [inRoot("packages/cli/bin/krait.js"), ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    // An interrupt reaches the command as well: it cleans up, and its exit code becomes ours.
    const wait = () => {};
    process.on("SIGINT", wait);
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      process.off("SIGINT", wait);
      resolve({ code: signal ? 130 : code, stdout: Buffer.concat(chunks).toString("utf8") });
    });
  });
}

function summarise(clip, { tokens, dim, byModality, mediaSeconds, elapsedSeconds, out, page, device }) {
  const megabytes = (path) => (readFileSync(path).length / 2 ** 20).toFixed(1);
  console.log(`
Encoded ${mediaSeconds.toFixed(1)} s of ${clip.shows},
and the paragraph in ${shown(paragraph)}, in ${elapsedSeconds.toFixed(1)} s on the ${device === "cuda" ? "GPU" : "CPU"}.

  page      ${shown(page)}  (${megabytes(page)} MiB; open it in a browser)
  features  ${shown(out)}  (${megabytes(out)} MiB; ${counted(tokens)} tokens of ${dim} numbers, with times)

  video ${counted(byModality.video)}, audio ${counted(byModality.audio)}, text ${counted(byModality.text)}, separators ${counted(byModality.separator)}

No trained model exists yet: the weights are random numbers from a fixed seed. The features are real outputs of the whole
way from file to encoder, but they carry no learned meaning; the page shows how they follow the input in time.`);
}

const clip = makeClip(folder);
const out = join(folder, "features.safetensors");
const page = join(folder, "index.html");
const { code, stdout } = await krait([
  "encode",
  ...[clip.path, paragraph].map(shown),
  "--out",
  shown(out),
  "--page",
  shown(page),
  "--json",
]);
if (code === 0) summarise(clip, JSON.parse(stdout));
process.exitCode = code;
