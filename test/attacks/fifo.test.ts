import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

describe.skipIf(!compiled || process.platform === "win32")("a FIFO", () => {
  it.each(["pipe.mp4", "pipe.wav", "pipe.txt"])("named %s is refused at once, not waited for", async (name) => {
    const folder = await emptyFolder();
    execFileSync("mkfifo", [join(folder, name)]);
    await expectRefusal(folder, [name], { code: "SOURCE_NOT_A_FILE" });
  });
});
