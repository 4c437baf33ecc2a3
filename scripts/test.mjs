// Everything `npm test` checks, after setup: lint, import rules, types of the tests, vitest, kernels under sanitizers.
// Arguments go to vitest (file filters, -t), and then only vitest runs. The last line is `N passed, N failed[, N skipped]`.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { inRoot, root } from "./lib/paths.mjs";
import { addCounts, countsLine, countVitest, noCounts, parseCountsLine } from "./lib/test-counts.mjs";

let interrupted;
let running;
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    interrupted = signal;
    running?.kill(signal);
  });
}

/** Runs node with a script, shows its output as it comes and keeps the end of it. */
function node(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
    running = child;
    let tail = "";
    child.stdout.on("data", (chunk) => {
      process.stdout.write(chunk);
      tail = (tail + chunk).slice(-4096);
    });
    child.once("error", reject);
    child.once("close", (status, signal) => resolve({ status: signal ? 1 : status, tail }));
  });
}

const oneTest = ({ status }) => ({ passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 });
const tool = (path) => inRoot("node_modules", path);

async function vitest(filters) {
  mkdirSync(inRoot("build"), { recursive: true });
  const folder = mkdtempSync(inRoot("build", "vitest-"));
  const report = join(folder, "report.json");
  try {
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
    const { status } = await node([tool("vitest/vitest.mjs"), "run", ...reporters, ...filters]);
    return countVitest(report, status);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const filters = process.argv.slice(2);
const sanitizers = inRoot("scripts/test-sanitize.mjs");
const steps = [
  ["lint", async () => oneTest(await node([tool("@biomejs/biome/bin/biome"), "check", "."]))],
  ["import rules", async () => oneTest(await node([inRoot("scripts/check-imports.mjs")]))],
  ["types of the tests", async () => oneTest(await node([tool("typescript/bin/tsc"), "-p", "tsconfig.test.json"]))],
  ["vitest", () => vitest(filters)],
];
if (existsSync(sanitizers)) {
  steps.push([
    "kernels under sanitizers",
    async () => {
      const result = await node([sanitizers]);
      const counts = parseCountsLine(result.tail);
      // A step that fails without naming a failed test has failed all the same.
      return counts && (result.status === 0) === (counts.failed === 0) ? counts : oneTest(result);
    },
  ]);
}

const summary = [];
let total = noCounts();
for (const [name, step] of filters.length > 0 ? steps.filter(([name]) => name === "vitest") : steps) {
  console.log(`\n— ${name}`);
  const counts = await step();
  if (interrupted) process.exit(128 + constants.signals[interrupted]);
  summary.push(`  ${name}: ${countsLine(counts)}`);
  total = addCounts(total, counts);
}
console.log(`\nSteps (one that is not a test suite counts as one test):\n${summary.join("\n")}`);
console.log(countsLine(total));
process.exitCode = total.failed > 0 ? 1 : 0;
