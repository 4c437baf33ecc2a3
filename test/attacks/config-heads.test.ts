import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";
import { plantModel, smallConfig } from "./models.js";

const { stack } = smallConfig;
const configs = {
  "attention heads that do not divide the width": { ...stack, attention: { heads: 5, keyHeads: 5 } },
  "key heads that do not divide the heads": { ...stack, attention: { heads: 4, keyHeads: 3 } },
  "a head size that does not divide the inner width": { ...stack, mamba2: { headDim: 48, stateSize: 16 } },
};

describe.skipIf(!compiled)("a config with", () => {
  it.each(Object.entries(configs))("%s is refused", async (_, broken) => {
    const folder = await emptyFolder();
    await plantModel(folder, {
      "config.json": { ...smallConfig, stack: broken },
      "model.safetensors": Buffer.alloc(64),
    });
    await expectRefusal(folder, ["--text", "words", "--model", "model"], { code: "INVALID_CONFIG" });
  });
});
