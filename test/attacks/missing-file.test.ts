import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

describe.skipIf(!compiled)("a file that is not there", () => {
  it.each(["no-such.mp4", "no-such.txt", "no/such/folder.wav"])("%s is refused", async (name) => {
    await expectRefusal(await emptyFolder(), [name], { code: "SOURCE_NOT_FOUND" });
  });

  it("is refused when other files are good", async () => {
    await expectRefusal(await emptyFolder(), ["--text", "words", "no-such.mp4"], { code: "SOURCE_NOT_FOUND" });
  });

  it("an address is refused and not fetched", async () => {
    await expectRefusal(await emptyFolder(), ["http://127.0.0.1:9/clip.mp4"], { code: "SOURCE_IS_ADDRESS" });
  });
});
