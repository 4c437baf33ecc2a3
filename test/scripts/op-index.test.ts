import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { plant, runScript } from "./run-script.js";

const ops = {
  "scan.ts":
    'export const scan = defineOp("scan", {});\nexport const scanBackward = defineOp(\n  "scan_backward",\n  {},\n);\n',
  "add.ts": 'export const helper = 1;\nexport const add = defineOp("add", {});\n',
  "shared.ts": "export const none = 0;\n",
};

it("lists every op once, sorted by name, and notices when it is stale", () => {
  const dir = plant(ops);
  const flag = `--dir=${dir}`;
  expect(runScript("generate-op-index.mjs", ["--check", flag]).code).toBe(1);
  expect(runScript("generate-op-index.mjs", [flag]).code).toBe(0);
  const text = readFileSync(join(dir, "index.ts"), "utf8");
  expect(text).toContain("[add.op, scan.op, scanBackward.op]");
  expect(text).toContain('export { scan, scanBackward } from "./scan.js";');
  expect(text).not.toContain("shared");
  expect(text).not.toContain("helper");
  expect(runScript("generate-op-index.mjs", ["--check", flag]).code).toBe(0);
});

it.each([
  ["two ops of one name", { "more.ts": 'export const other = defineOp("scan", {});\n' }, /one op named scan/],
  ["an op that is not exported", { "more.ts": 'const other = defineOp("other", {});\n' }, /1 of 1 do not/],
])("refuses %s", (_, more, message) => {
  const { code, text } = runScript("generate-op-index.mjs", [`--dir=${plant({ ...ops, ...more })}`]);
  expect(text).toMatch(message);
  expect(code).toBe(1);
});
