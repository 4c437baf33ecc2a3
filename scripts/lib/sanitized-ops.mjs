// The op case tables on the CPU, and whether runs leave memory behind. Started by scripts/test-sanitize.mjs in a prepared environment.
//   [--quick] [op …]
import { copy, Graph, linear } from "../../packages/graph/dist/index.js";
import { loadCaseTables, placeInFile, runCase, tableCases } from "../../packages/runtime/dist/conformance/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";
import { countsLine, noCounts } from "./test-counts.mjs";

// Sanitized kernels are an order of magnitude slower; what is left out differs in size alone.
const mostElements = process.argv.includes("--quick") ? 20_000 : 200_000;
const growthLimit = 24 * 2 ** 20;
const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const counts = noCounts();

const elements = ({ inputs }) => Object.values(inputs).reduce((sum, { data }) => sum + data.length, 0);

async function ops(device) {
  for (const table of await loadCaseTables()) {
    if (wanted.length > 0 && !wanted.includes(table.op)) continue;
    const failures = [];
    const cases = tableCases(table, seed);
    const tried = cases.filter((one) => elements(one) <= mostElements);
    for (const one of tried) {
      // Weights of a checkpoint lie at any multiple of their size, in memory of our own at the start of a page.
      for (const place of [undefined, placeInFile(device)]) {
        const { failure } = await runCase(device, table.op, one, "f32", place);
        if (!failure) continue;
        failures.push(`    ${one.name}${place ? ", weights in a file" : ""}: ${failure}`);
        break;
      }
    }
    counts.passed += tried.length - failures.length;
    counts.failed += failures.length;
    const left = cases.length > tried.length ? `, ${cases.length - tried.length} too large here` : "";
    console.log([`  ${table.op}: ${tried.length - failures.length} of ${tried.length}${left}`, ...failures].join("\n"));
  }
}

async function settledBytes() {
  // A turn of the event loop lets finalizers run.
  for (let i = 0; i < 4; i++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().rss;
}

/** Does it twice over: what the first round leaves is caches and the allocator's own, what the second adds is a leak. */
async function growth(name, rounds, body) {
  for (let i = 0; i < rounds; i++) await body();
  const before = await settledBytes();
  for (let i = 0; i < rounds; i++) await body();
  const grown = (await settledBytes()) - before;
  const passed = grown < growthLimit;
  counts[passed ? "passed" : "failed"]++;
  console.log(`  ${name}: ${passed ? "ok" : "FAILED"}, ${(grown / 2 ** 20).toFixed(1)} MiB more after ${rounds} more`);
}

async function leaks(device) {
  const graph = new Graph("growth");
  const T = graph.symbol("T", 256);
  const x = graph.input("x", "f32", [T, 64]);
  graph.output("y", linear({ x: copy(x), weight: graph.input("weight", "f32", [64, 64]) }).y);
  const inputs = { x: new Float32Array(256 * 64), weight: new Float32Array(64 * 64) };
  const symbols = { T: 256 };
  const program = await device.load(graph);
  await growth("memory of runs", 1000, () => program.run({ symbols, inputs }));
  await growth("memory of refused runs", 1000, () =>
    program.run({ symbols: { T: 257 }, inputs }).then(
      () => {
        throw new Error("Expected a run beyond its capacity to be refused");
      },
      () => undefined,
    ),
  );
  program.close();
  await growth("memory of programs", 200, async () => {
    const once = await device.load(graph);
    await once.run({ symbols, inputs });
    once.close();
  });
  await growth("memory of devices", 50, async () => {
    const other = await openDevice({ device: "cpu", threads: 2 });
    const buffer = await other.zeros(2 ** 20);
    buffer.close();
    await other.close();
  });
}

const device = await openDevice({ device: "cpu", threads: 2 });
console.log(`  seed ${seed}, ${JSON.stringify(device.describe())}`);
await ops(device);
if (wanted.length === 0) await leaks(device);
await device.close();
console.log(countsLine(counts));
process.exitCode = counts.failed > 0 ? 1 : 0;
