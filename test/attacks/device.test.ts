import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

describe.skipIf(!compiled || process.platform === "win32")("a device", () => {
  it("that never ends is refused", async () => {
    await expectRefusal(await emptyFolder(), ["/dev/zero"], { code: "SOURCE_NOT_A_FILE" });
  });

  it("behind a link is refused", async () => {
    const folder = await emptyFolder();
    await symlink("/dev/zero", join(folder, "clip.mp4"));
    await expectRefusal(folder, ["clip.mp4"], { code: "SOURCE_NOT_A_FILE" });
  });

  it("as the feature file is a wrong command line", async () => {
    const options = { code: "OUTPUT_CLASH", exit: 2, out: "/dev/null" };
    await expectRefusal(await emptyFolder(), ["--text", "words", "--no-page"], options);
  });
});
