import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { expectTokenizeRefusal } from "./tokenize.js";

describe.skipIf(!compiled)("a file of a hundred streams", () => {
  it("is refused before anything is decoded", async () => {
    const folder = await emptyFolder();
    const maps = Array.from({ length: 100 }, () => ["-map", "0"]).flat();
    const input = ["-f", "lavfi", "-i", "sine=duration=0.1:sample_rate=8000"];
    execFileSync("ffmpeg", [
      "-v",
      "error",
      "-nostdin",
      ...input,
      ...maps,
      "-c:a",
      "pcm_s16le",
      join(folder, "many.mkv"),
    ]);
    await expectTokenizeRefusal(folder, "many.mkv", "MEDIA_TOO_MANY_STREAMS");
  });
});
