import { truncate } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";
import { plantModel, smallConfig } from "./models.js";

/** A safetensors file of a header and so many bytes behind it. */
function weights(header: string | Buffer, data = 8): Buffer {
  const json = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(data)]);
}

const tensor = (from: number, to: number) => `{"dtype":"U8","shape":[${to - from}],"data_offsets":[${from},${to}]}`;
const a = tensor(0, 4);

const broken: Record<string, [string, Buffer]> = {
  "is not UTF-8": ["JSON_NOT_UTF8", weights(Buffer.from(`{"\xff":${a},"b":${tensor(4, 8)}}`, "latin1"))],
  "names a tensor twice": ["JSON_DUPLICATE_KEY", weights(`{"a":${a},"a":${a}}`)],
  "gives two tensors the same bytes": ["SAFETENSORS_OVERLAP", weights(`{"a":${a},"b":${tensor(2, 8)}}`)],
  "leaves bytes between two tensors": ["SAFETENSORS_HOLE", weights(`{"a":${a},"b":${tensor(6, 8)}}`)],
  "leaves bytes behind the last one": ["SAFETENSORS_TRAILING_BYTES", weights(`{"a":${a}}`)],
  "names a prototype": ["JSON_FORBIDDEN_KEY", weights(`{"__proto__":${tensor(0, 8)}}`)],
};

describe.skipIf(!compiled)("weights whose header", () => {
  it.each(Object.entries(broken))("%s are refused", async (_, [code, bytes]) => {
    const folder = await emptyFolder();
    await plantModel(folder, { "config.json": smallConfig, "model.safetensors": bytes });
    await expectRefusal(folder, ["--text", "words", "--model", "model"], { code });
  });

  it("is longer than a hundred megabytes are refused unread", async () => {
    const folder = await emptyFolder();
    const bytes = weights("{}", 0);
    bytes.writeBigUInt64LE(2_000_000_000n);
    const model = await plantModel(folder, { "config.json": smallConfig, "model.safetensors": bytes });
    // The bytes are there, so only their number speaks against it.
    await truncate(join(model, "model.safetensors"), 2_100_000_000);
    await expectRefusal(folder, ["--text", "words", "--model", "model"], { code: "SAFETENSORS_HEADER_TOO_LONG" });
  });
});
