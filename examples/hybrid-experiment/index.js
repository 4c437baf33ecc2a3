// Layouts against length: time, memory and state of Mamba-2, hybrids and attention, measured, and drawn on a page. As it stands it takes
// two to three minutes on two cores, most of it full attention at 32,768 tokens, whose time grows with the square of the length.
// node examples/hybrid-experiment [--lengths 1024,2048,…] [--width 128] [--page out/hybrid-experiment.html] [--json]
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { refuse } from "../plain-errors.mjs";
import { drawPage } from "./page.js";

const { values: flags } = parseArgs({
  options: {
    lengths: { type: "string", default: "1024,2048,4096,8192,16384,32768" },
    width: { type: "string", default: "128" },
    page: { type: "string", default: "out/hybrid-experiment.html" },
    json: { type: "boolean", default: false },
  },
});
const width = Number(flags.width);
const lengths = [...new Set(flags.lengths.split(",").map(Number))].sort((a, b) => a - b);
if (!lengths.every((n) => Number.isInteger(n) && n > 0))
  refuse("numbers of tokens", "--lengths", flags.lengths, "For example --lengths 1024,4096");
if (!(Number.isInteger(width) && width > 0 && width % 64 === 0))
  refuse("a multiple of 64", "--width", flags.width, "Heads are 32 wide, and two of them share keys.");

await mkdir(dirname(flags.page), { recursive: true }); // before the work: a place that cannot be had would lose it

/** Eight mixers each. A window bounds what attention keeps; full attention keeps every key and value. */
const mamba2 = { stateSize: 64, headDim: 32 };
const attention = (window) => ({ heads: width / 32, keyHeads: Math.max(1, width / 64), window });
const layouts = {
  "Mamba-2": { layout: "M2x8" },
  "hybrid 3:1, window 512": { layout: "(M2 M2 M2 A)x2", attention: attention(512) },
  "hybrid 3:1, full attention": { layout: "(M2 M2 M2 A)x2", attention: attention("full") },
  "attention, window 512": { layout: "Ax8", attention: attention(512) },
  "full attention": { layout: "Ax8", attention: attention("full") },
};

// A process each: the peak of one run must not hide in that of another.
const run = promisify(execFile);
const oneRun = fileURLToPath(new URL("one-run.js", import.meta.url));
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
const results = [];
let child;
process.on("exit", () => child?.kill());
for (const tokens of lengths) {
  for (const [name, layout] of Object.entries(layouts)) {
    const work = { stack: { width, mamba2, ...layout }, tokens };
    const running = run(process.execPath, [oneRun, JSON.stringify(work)]);
    child = running.child;
    const { stdout } = await running.catch(({ stderr, signal }) => {
      console.error(`${name}, ${tokens} tokens: ${stderr.trim() || `ended by ${signal}`}`);
      process.exit(1);
    });
    const result = { layout: name, ...JSON.parse(stdout) };
    results.push(result);
    if (flags.json) continue;
    const { seconds, peakBytes, stateBytes } = result;
    console.log(
      `${name.padEnd(27)} ${String(tokens).padStart(7)} tokens  ${seconds.toFixed(2).padStart(6)} s  ` +
        `${megabytes(peakBytes).padStart(9)} in all  ${megabytes(stateBytes).padStart(9)} of state`,
    );
  }
}
await writeFile(flags.page, drawPage(results, { width }));
console.log(flags.json ? JSON.stringify({ results, page: flags.page }) : `drawn in ${flags.page}`);
