import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";
import { plantModel, smallConfig } from "./models.js";

/** A safetensors file that says its header is so long. */
function claiming(length: bigint): Buffer {
  const bytes = Buffer.alloc(40, " ");
  bytes.writeBigUInt64LE(length);
  return bytes;
}

describe.skipIf(!compiled)("weights whose header is said to be longer than the file", () => {
  it.each([33n, 2n ** 20n, 2n ** 40n, 2n ** 64n - 1n].map(String))("%s bytes are refused", async (length) => {
    const folder = await emptyFolder();
    await plantModel(folder, { "config.json": smallConfig, "model.safetensors": claiming(BigInt(length)) });
    await expectRefusal(folder, ["--text", "words", "--model", "model"], { code: "SAFETENSORS_HEADER_TOO_LONG" });
  });
});
