import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import { describe, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { expectTokenizeRefusal } from "./tokenize.js";

describe.skipIf(!compiled || typeof crc32 !== "function")("a PNG of 65,535 × 65,535 in a hundred bytes", () => {
  it("is refused by its header", async () => {
    const folder = await emptyFolder();
    const chunk = (name: string, data: Buffer) => {
      const body = Buffer.concat([Buffer.from(name), data]);
      const ends = Buffer.alloc(8);
      ends.writeUInt32BE(data.length, 0);
      ends.writeUInt32BE(crc32(body) >>> 0, 4);
      return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
    };
    const header = Buffer.from([0, 0, 255, 255, 0, 0, 255, 255, 8, 2, 0, 0, 0]);
    const parts = [
      chunk("IHDR", header),
      chunk("IDAT", deflateSync(Buffer.alloc(1000))),
      chunk("IEND", Buffer.alloc(0)),
    ];
    const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
    await writeFile(join(folder, "bomb.png"), Buffer.concat([signature, ...parts]));
    await expectTokenizeRefusal(folder, "bomb.png", "MEDIA_TOO_LARGE");
  });
});
