import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { trace, unary } from "@krait/graph";
import { locateNative, openDevice } from "@krait/runtime";
import { expect, test } from "vitest";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

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

test("a device stays open as long as a program or a buffer of it is in use", async () => {
  const open = async () => {
    const device = await openDevice({ device: "cpu", threads: 1 });
    const program = await device.load(
      trace("double", (g) => {
        const x = g.input("x", "f32", [g.symbol("T", 4), 2]);
        g.output("y", unary({ x }, { kind: "identity", scale: 2 }).y);
      }),
    );
    return { program, buffer: await device.upload(Float32Array.of(1, 2)) };
  };
  const { program, buffer } = await open();
  for (let i = 0; i < 5; i++) {
    collect();
    await sleep(10);
  }
  expect([...(await buffer.read(new Float32Array(2)))]).toEqual([1, 2]);
  const { y } = await program.run({ symbols: { T: 1 }, inputs: { x: Float32Array.of(3, 4) } });
  expect(y).toHaveLength(2);
  program.close();
  buffer.close();
});
