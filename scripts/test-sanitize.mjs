// Runs the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, in a build of their own (build/sanitize, without CUDA):
// the C++ tests, then every op's case table on the CPU in a node that has the sanitizer's library loaded before all else.
// The last line is `N passed, N failed`.   --quick leaves out the large cases (for a look while you write)
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { build } from "./build.mjs";
import { withLock } from "./lib/lock.mjs";
import { inRoot, root } from "./lib/paths.mjs";
import { output } from "./lib/process.mjs";
import { main, parseFlags, ScriptError } from "./lib/report.mjs";
import { addCounts, countsLine, noCounts, parseCountsLine } from "./lib/test-counts.mjs";

const asanOptions = "abort_on_error=0:detect_stack_use_after_return=0:strict_string_checks=1:quarantine_size_mb=16";
const ubsanOptions = "print_stacktrace=1:halt_on_error=1";

/** The shared library of a sanitizer, as the compiler names it. */
function library(name) {
  const path = output(process.env.CXX ?? "c++", [`-print-file-name=${name}`]);
  if (!path?.includes("/")) {
    throw new ScriptError(`Expected ${name} beside the C++ compiler but it has none`, {
      hint: "Install the sanitizers of the compiler in use (Debian: libasan8, libubsan1).",
      exitCode: 4,
    });
  }
  return path;
}

/** Runs a suite that ends with a line of counts; one that ends early or without it has failed. */
function suite(name, command, args, env) {
  console.log(`\n${name}`);
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, UBSAN_OPTIONS: ubsanOptions, OMP_WAIT_POLICY: "passive", ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let tail = "";
    child.stdout.on("data", (chunk) => {
      process.stdout.write(chunk);
      tail = (tail + chunk).slice(-4096);
    });
    child.once("error", (error) => resolve({ ...noCounts(), failed: 1, error }));
    child.once("close", (status) => {
      const counts = parseCountsLine(tail) ?? noCounts();
      const early = status !== 0 && counts.failed === 0;
      if (early) console.log(`${name}: ended with status ${status} before its counts`);
      resolve(early ? addCounts(counts, { ...noCounts(), failed: 1 }) : counts);
    });
  });
}

await main(async () => {
  const flags = parseFlags(process.argv.slice(2), { quick: "flag" });
  await withLock(() => build({ sanitize: "address,undefined", quiet: true }));

  const programs = inRoot("build/sanitize/programs");
  mkdirSync(programs, { recursive: true });
  if (output(process.execPath, [inRoot("kernels/test/write-programs.mjs"), programs]) === undefined) {
    throw new ScriptError(
      "Writing the programs for the C++ tests failed: run kernels/test/write-programs.mjs to see why",
    );
  }
  // libstdc++ too: libasan looks for the functions that throw when it is loaded, and node brings none.
  const underNode = {
    LD_PRELOAD: [library("libasan.so"), library("libstdc++.so.6")].join(":"),
    // Node frees little at its end; the growth test looks for leaks instead.
    ASAN_OPTIONS: `${asanOptions}:detect_leaks=0`,
    KRAIT_ADDON: inRoot("build/sanitize/krait.node"),
  };
  const node = [
    process.execPath,
    ["--expose-gc", inRoot("scripts/lib/sanitized-ops.mjs"), ...(flags.quick ? ["--quick"] : [])],
  ];
  const results = [
    await suite("C++ tests", inRoot("build/sanitize/krait_tests"), [programs], { ASAN_OPTIONS: asanOptions }),
    await suite("Ops, own matrix products", node[0], node[1], { ...underNode, KRAIT_ONEDNN: "off" }),
    await suite("Linear, oneDNN where it is there", node[0], [...node[1], "linear"], {
      ...underNode,
      KRAIT_ONEDNN: "on",
    }),
  ];
  const total = results.reduce(addCounts);
  console.log(`\n${countsLine(total)}`);
  return total.failed > 0 || total.passed === 0 ? 1 : 0;
});
