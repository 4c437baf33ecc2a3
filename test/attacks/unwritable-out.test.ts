import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

describe.skipIf(!compiled)("a place that cannot be written to", () => {
  it("below a folder that is not there", async () => {
    const options = { code: "OUTPUT_FOLDER_MISSING", exit: 4, out: "no/such/out.safetensors" };
    await expectRefusal(await emptyFolder(), ["--text", "words"], options);
  });

  it("below a file", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "file"), "x");
    const options = { code: "OUTPUT_FOLDER_MISSING", exit: 4, out: "file/out.safetensors" };
    await expectRefusal(folder, ["--text", "words"], options);
  });

  it("for the page alone", async () => {
    const args = ["--text", "words", "--page", "no/such/page.html"];
    await expectRefusal(await emptyFolder(), args, { code: "OUTPUT_FOLDER_MISSING", exit: 4 });
  });

  it.skipIf(process.platform !== "linux")("in a folder of the system", async () => {
    const options = { code: /^OUTPUT_/, exit: 4, out: "/proc/out.safetensors" };
    await expectRefusal(await emptyFolder(), ["--text", "words", "--no-page"], options);
  });

  it("over an input", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "notes.txt"), "words");
    await expectRefusal(folder, ["notes.txt"], { code: "OUTPUT_CLASH", exit: 2, out: "notes.txt" });
  });
});
