import { describe, it } from "vitest";
import { compiled, emptyFolder } from "../command.js";
import { ffmpeg, picture } from "./clip.js";
import { expectTokenizeRefusal } from "./tokenize.js";

describe.skipIf(!compiled)("a video without a key frame", () => {
  // The first two decoders give nothing; the others guess pictures from ones that are missing.
  it.each(["libx264", "mpeg2video", "mpeg4", "libx265"])("of %s is refused", async (codec) => {
    const folder = await emptyFolder();
    const quiet = codec === "libx265" ? " -x265-params log-level=none" : "";
    ffmpeg(folder, `${picture(2)} -c:v ${codec}${quiet} -g 1000 -bsf:v noise=drop=key clip.mkv`);
    await expectTokenizeRefusal(folder, "clip.mkv", "MEDIA_INVALID");
  });
});

describe.skipIf(!compiled)("a video of corrupt packets only", () => {
  it.each(["mkv", "mp4"])("in an %s is refused", async (kind) => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(2)} -c:v libx264 -bsf:v noise=amount=1 clip.${kind}`);
    await expectTokenizeRefusal(folder, `clip.${kind}`, "MEDIA_INVALID");
  });
});
