import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { countsLine, countVitest, parseCountsLine } from "../../scripts/lib/test-counts.mjs";
import { plant } from "./run-script.js";

const count = (testResults: unknown, status: number) =>
  countVitest(join(plant({ "report.json": JSON.stringify({ testResults }) }), "report.json"), status);
const file = (status: string, ...results: string[]) => ({
  status,
  assertionResults: results.map((result) => ({ status: result })),
});

describe("counting a vitest run", () => {
  it("counts tests by their result", () => {
    const report = [file("passed", "passed", "skipped", "todo"), file("failed", "passed", "failed")];
    expect(count(report, 1)).toEqual({ passed: 2, failed: 1, skipped: 2 });
  });
  it("counts a file that could not be loaded", () => {
    expect(count([file("passed", "passed"), file("failed")], 1)).toEqual({ passed: 1, failed: 1, skipped: 0 });
  });
  it("counts a crash after the last test", () => {
    expect(count([file("passed", "passed")], 1).failed).toBe(1);
  });
  it("counts a run without tests and a run without a report", () => {
    expect(count([], 0).failed).toBe(1);
    expect(countVitest("/nonexistent/report.json", 0).failed).toBe(1);
  });
});

it("writes and reads the last line", () => {
  for (const counts of [
    { passed: 12, failed: 0, skipped: 0 },
    { passed: 1, failed: 2, skipped: 3 },
  ]) {
    expect(parseCountsLine(`noise\n${countsLine(counts)}\n`)).toEqual(counts);
  }
  expect(countsLine({ passed: 1, failed: 0, skipped: 0 })).toBe("1 passed, 0 failed");
  expect(parseCountsLine("1 passed, 0 failed\nmore")).toBeUndefined();
});
