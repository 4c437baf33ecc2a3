import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

describe.skipIf(!compiled)("a directory", () => {
  it.each(["folder.mp4", "folder.txt"])("named %s is refused", async (name) => {
    const folder = await emptyFolder();
    await mkdir(join(folder, name));
    await expectRefusal(folder, [name], { code: "SOURCE_IS_DIRECTORY" });
  });

  it("as the feature file is a wrong command line", async () => {
    const folder = await emptyFolder();
    await mkdir(join(folder, "out.safetensors"));
    await expectRefusal(folder, ["--text", "words"], { code: "OUTPUT_CLASH", exit: 2 });
  });
});
