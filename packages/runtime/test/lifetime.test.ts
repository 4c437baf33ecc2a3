import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { locateNative } from "@krait/runtime";
import { expect, test } from "vitest";

// In a process of its own, whose main thread never loads the addon: a worker's end would unload it.
const workers = `
const { Worker } = require("node:worker_threads");
const [, addon] = process.argv;
const body = \`
  const { parentPort } = require("node:worker_threads");
  const { Device } = require(\${JSON.stringify(addon)});
  const device = new Device({ index: 0, threads: 1 });
  device.allocate(2 ** 26).then((buffer) => {
    for (let i = 0; i < 4; i++) buffer.fill(0, 0, 2 ** 26);
    parentPort.postMessage("busy");
  });
\`;
(async () => {
  for (let i = 0; i < 10; i++) {
    const worker = new Worker(body, { eval: true });
    await new Promise((resolve) => worker.once("message", resolve));
    await worker.terminate();
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  console.log("alive");
})();
`;

test("workers that end while their device works leave the process alive", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", workers, locateNative("krait.node").path!]);
  expect(stdout).toBe("alive\n");
});
