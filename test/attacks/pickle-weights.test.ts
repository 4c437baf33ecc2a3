import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";
import { plantModel, smallConfig } from "./models.js";

/** Protocol 2, and then a call of os.system, as a hostile pickle has it. */
const pickle = Buffer.from("\x80\x02cos\nsystem\nX\x04\0\0\0exit\x85R.", "latin1");
const words = ["--text", "words", "--model", "model"];

describe.skipIf(!compiled)("a pickle as weights", () => {
  it.each(["pytorch_model.bin", "model.pt", "model.ckpt"])("named %s is refused by its name", async (name) => {
    const folder = await emptyFolder();
    await plantModel(folder, { "config.json": smallConfig, [name]: pickle });
    await expectRefusal(folder, words, { code: "PICKLE_REFUSED" });
  });

  it("named model.safetensors is refused by its content", async () => {
    const folder = await emptyFolder();
    await plantModel(folder, { "config.json": smallConfig, "model.safetensors": pickle });
    await expectRefusal(folder, words, { code: "PICKLE_REFUSED" });
  });
});
