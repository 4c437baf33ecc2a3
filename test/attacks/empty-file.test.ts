import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

describe.skipIf(!compiled)("an empty file", () => {
  it.each(["empty.mp4", "empty.wav", "empty.txt", "empty"])("%s is refused", async (name) => {
    const folder = await emptyFolder();
    await writeFile(join(folder, name), "");
    await expectRefusal(folder, [name], { code: "SOURCE_EMPTY" });
  });
});
