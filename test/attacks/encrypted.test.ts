import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "vitest";
import { canEncode, compiled, emptyFolder } from "../command.js";
import { element, findElement } from "./boxes.js";
import { ffmpeg, picture } from "./clip.js";
import { expectTokenizeRefusal } from "./tokenize.js";

const cenc =
  "-encryption_scheme cenc-aes-ctr -encryption_key 00112233445566778899aabbccddeeff -encryption_kid ffeeddccbbaa99887766554433221100";

describe.skipIf(!compiled)("an encrypted stream", () => {
  it.each([
    ["with its index behind", ""],
    ["with its index in front", " -movflags +faststart"],
    ["in fragments", " -movflags +frag_keyframe+empty_moov"],
  ])("of an mp4 %s is refused by its header", async (_, flags) => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v libx264 ${cenc}${flags} clip.mp4`);
    await expectTokenizeRefusal(folder, "clip.mp4", "MEDIA_ENCRYPTED");
  });

  it.skipIf(!canEncode)("of sound is refused", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `-f lavfi -i sine=d=1 -c:a aac ${cenc} clip.m4a`);
    await expectTokenizeRefusal(folder, "clip.m4a", "MEDIA_ENCRYPTED", "whisper-80");
  });

  it("of a Matroska file is refused by its header", async () => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v mpeg4 clip.mkv`);
    const file = readFileSync(join(folder, "clip.mkv"));
    const tracks = findElement(file, "1654ae6b");
    const track = findElement(file.subarray(0, tracks.end), "ae");
    // ContentEncodings > ContentEncoding > type 1, ContentEncryption > AES, a key's id.
    const encryption = element("5035", element("47e1", Buffer.from([5])), element("47e2", Buffer.alloc(16, 7)));
    const encodings = element("6d80", element("6240", element("5033", Buffer.from([1])), encryption));
    const entry = element("ae", file.subarray(track.body, track.end), encodings);
    // Unknown length, as of a stream that is still being written: what stands in it has grown.
    const segment = findElement(file.subarray(0, tracks.at), "18538067");
    const changed = [
      file.subarray(0, segment.at),
      Buffer.from("1853806701ffffffffffffff", "hex"),
      element("1654ae6b", entry),
      file.subarray(file.indexOf(Buffer.from("1f43b675", "hex"), tracks.end)),
    ];
    writeFileSync(join(folder, "clip.mkv"), Buffer.concat(changed));
    await expectTokenizeRefusal(folder, "clip.mkv", "MEDIA_ENCRYPTED");
  });
});

describe.skipIf(!compiled)("a codec that nobody knows", () => {
  it.each([
    ["mkv", "V_MPEG4/ISO/AVC", "V_QQQQQ/ISO/AVC"],
    ["mp4", "avc1", "qqq1"],
  ])("in an %s is refused", async (kind, name, other) => {
    const folder = await emptyFolder();
    ffmpeg(folder, `${picture(1)} -c:v libx264 clip.${kind}`);
    const path = join(folder, `clip.${kind}`);
    const renamed = readFileSync(path, "latin1").replaceAll(name, other).replaceAll("avcC", "qqqC");
    writeFileSync(path, Buffer.from(renamed, "latin1"));
    await expectTokenizeRefusal(folder, `clip.${kind}`, "MEDIA_UNSUPPORTED");
  });
});
