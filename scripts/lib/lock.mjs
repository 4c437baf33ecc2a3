import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { inRoot } from "./paths.mjs";
import { say } from "./report.mjs";

const file = inRoot("build/.stamps/lock");

function take() {
  // A link appears with its content, so that no one ever reads a lock without an owner.
  const own = `${file}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, file);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

/** The process that holds the lock, or undefined when it was released or its owner has died. */
function owner() {
  let pid;
  try {
    pid = Number(readFileSync(file, "utf8"));
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return error.code === "EPERM" ? pid : undefined;
  }
}

/** Runs `body` while no other setup or build of this checkout runs; a lock whose owner has died is taken over. */
export async function withLock(body) {
  mkdirSync(inRoot("build/.stamps"), { recursive: true });
  for (let waited = false; !take(); waited = true) {
    const pid = owner();
    if (pid === undefined) rmSync(file, { force: true });
    else {
      if (!waited) say(`Waiting for another setup of this checkout (process ${pid}; lock ${file})`);
      await sleep(200);
    }
  }
  const release = () => rmSync(file, { force: true });
  process.once("exit", release);
  try {
    return await body();
  } finally {
    process.removeListener("exit", release);
    release();
  }
}
