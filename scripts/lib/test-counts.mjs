import { readFileSync } from "node:fs";

/** Numbers of tests that passed, failed and were skipped. */
export const noCounts = () => ({ passed: 0, failed: 0, skipped: 0 });

export function addCounts(a, b) {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The line a test command ends with. */
export function countsLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

/** Reads such a line back from the end of a command's output; undefined when it does not end with one. */
export function parseCountsLine(text) {
  const last = text.trimEnd().split("\n").at(-1) ?? "";
  const [, passed, failed, skipped] = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(last.trim()) ?? [];
  if (passed === undefined) return undefined;
  return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped ?? 0) };
}

/**
 * Counts a vitest run from its JSON report. What is no test's failure still counts as one: a file that could not be
 * loaded, a crash or an unhandled error (a status other than 0 with nothing failed), a missing report, no tests at all.
 */
export function countVitest(reportFile, status) {
  let report;
  try {
    report = JSON.parse(readFileSync(reportFile, "utf8"));
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const counts = noCounts();
  for (const file of report.testResults) {
    const results = file.assertionResults ?? [];
    for (const { status: result } of results) {
      if (result === "passed") counts.passed++;
      else if (result === "failed") counts.failed++;
      else counts.skipped++;
    }
    if (file.status === "failed" && !results.some((entry) => entry.status === "failed")) counts.failed++;
  }
  const nothingRan = counts.passed + counts.failed + counts.skipped === 0;
  if (counts.failed === 0 && (status !== 0 || nothingRan)) counts.failed++;
  return counts;
}
