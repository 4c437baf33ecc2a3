import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@krait/formats";
import { describe, expect, it } from "vitest";
import { canEncode, compiled, emptyFolder, krait } from "../command.js";
import { expectTokenizeRefusal } from "./tokenize.js";
import { wavFile } from "./wav.js";

describe.skipIf(!canEncode)("a wav file whose size was left open", () => {
  it.each([0, 0xffffffff, 0x7fffffff])("as %s goes on to the end of the file", async (dataSize) => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "open.wav"), wavFile({ dataSize }));
    const args = ["tokenize", "open.wav", "--preset", "whisper-80", "--out", "out.safetensors"];
    const { code, stderr } = await krait(args, { cwd: folder });
    expect(code, stderr).toBe(0);
    await using written = await openSafetensors(join(folder, "out.safetensors"));
    expect(written.tensors.get("features")!.shape).toEqual([100, 80]);
  });
});

describe.skipIf(!compiled)("a wav file", () => {
  const whisper = (folder: string, code: string) => expectTokenizeRefusal(folder, "lie.wav", code, "whisper-80");

  it.each([33_000, 0x7000_0000])("that promises %s bytes of its 32,000 is refused", async (dataSize) => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "lie.wav"), wavFile({ dataSize }));
    await whisper(folder, "MEDIA_TRUNCATED");
  });

  it.each([0, 1, 3, 65535])("with blocks of %s bytes is refused", async (blockAlign) => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "lie.wav"), wavFile({ blockAlign }));
    await whisper(folder, "MEDIA_INVALID");
  });

  it("that ends with its header is refused", async () => {
    const folder = await emptyFolder();
    await writeFile(join(folder, "lie.wav"), wavFile({ data: new Uint8Array(0) }));
    await whisper(folder, "SOURCE_EMPTY");
  });
});
