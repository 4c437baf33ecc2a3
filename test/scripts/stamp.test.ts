import { rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkStamp } from "../../scripts/lib/stamp.mjs";
import { plant } from "./run-script.js";

function step() {
  const folder = plant({ "in.txt": "one", "out.txt": "" });
  const input = join(folder, "in.txt");
  const output = join(folder, "out.txt");
  const check = (extra = "") =>
    checkStamp("step", { inputs: [input], outputs: [output], extra, file: join(folder, "stamp.json") });
  check().commit();
  return { input, output, check };
}

it("is fresh only while inputs, options and outputs stay", () => {
  const { input, output, check } = step();
  expect(check().fresh).toBe(true);
  expect(check("--other").fresh).toBe(false);
  writeFileSync(input, "two");
  expect(check().fresh).toBe(false);
  check().commit();
  expect(check().fresh).toBe(true);
  rmSync(output);
  expect(check().fresh).toBe(false);
});

it("goes by content where only times differ", () => {
  const { input, check } = step();
  utimesSync(input, 1, 1);
  expect(check().fresh).toBe(true);
});

it("counts what is edited during the step as changed", () => {
  const { input, check } = step();
  writeFileSync(input, "two");
  const running = check();
  writeFileSync(input, "three");
  running.commit();
  expect(check().fresh).toBe(false);
});
