import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { decode, probe, readWav } from "../src/index.js";
import { openSource } from "../src/open-source.js";
import { collect, expectCode, expectRejection, ffmpeg, processesNaming, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const audio = { audio: { sampleRate: 16000 } } as const;

describe("what is no media file", () => {
  const refuse = async (path: string, code: string) => {
    await expectRejection(probe(path), code);
    expectCode((await collect(decode(path, audio))).error, code);
  };

  test("missing, empty, directory", async () => {
    await refuse(at("nothing.mp4"), "SOURCE_NOT_FOUND");
    await refuse("", "SOURCE_NOT_FOUND");
    await refuse("a\0b", "SOURCE_NOT_FOUND");
    await refuse(`${at("nothing")}/${"x".repeat(5000)}`, "SOURCE_NOT_FOUND");
    writeFileSync(at("empty.mp4"), "");
    await refuse(at("empty.mp4"), "SOURCE_EMPTY");
    mkdirSync(at("folder.mp4"));
    await refuse(at("folder.mp4"), "SOURCE_IS_DIRECTORY");
  });

  test("a FIFO nobody writes to is refused, not waited for", async () => {
    execFileSync("mkfifo", [at("fifo.mp4")]);
    await refuse(at("fifo.mp4"), "SOURCE_NOT_A_FILE");
    await expectRejection(readWav(at("fifo.mp4")), "SOURCE_NOT_A_FILE");
  });

  test("a device and a socket", async () => {
    await refuse("/dev/zero", "SOURCE_NOT_A_FILE");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(at("socket.mp4"), resolve));
    await refuse(at("socket.mp4"), "SOURCE_NOT_A_FILE");
    server.close();
  });

  test.skipIf(process.getuid?.() === 0)("without permission", async () => {
    writeFileSync(at("secret.mp4"), "x");
    chmodSync(at("secret.mp4"), 0);
    await refuse(at("secret.mp4"), "SOURCE_UNREADABLE");
  });

  test("an address is never fetched", async () => {
    await refuse("http://127.0.0.1:1/a.mp4", "SOURCE_IS_ADDRESS");
    await refuse("concat://x", "SOURCE_IS_ADDRESS");
  });
});

describe("playlists named .mp4", () => {
  const playlists: Record<string, string> = {
    m3u8: "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nTARGET\n#EXT-X-ENDLIST\n",
    "m3u8 behind a byte order mark": "\ufeff#EXTM3U\n#EXTINF:5,\nTARGET\n",
    "m3u8 behind blank lines": "\n\n  #EXTM3U\n#EXTINF:5,\nTARGET\n",
    ffconcat: "ffconcat version 1.0\nfile TARGET\n",
    dash: '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    sdp: "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    pls: "[playlist]\nFile1=TARGET\n",
  };

  for (const [name, text] of Object.entries(playlists)) {
    test(name, async () => {
      const path = at(`${name.replaceAll(" ", "-")}.mp4`);
      writeFileSync(path, text.replace("TARGET", at("target.mp4")));
      const error = await expectRejection(probe(path), "SOURCE_IS_PLAYLIST");
      expect(error.kind).toBe("input");
      expectCode((await collect(decode(path, audio))).error, "SOURCE_IS_PLAYLIST");
    });
  }

  test("a playlist that sniffing cannot see is still refused by the demuxer whitelist", async () => {
    const target = await ffmpeg("-f lavfi -i sine=duration=1 -c:a aac", at("target.aac"));
    const path = at("hidden.mp4");
    // Beyond the bytes that are sniffed; the first bytes are what ffmpeg's own probe goes by.
    writeFileSync(path, `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${target}\n#EXT-X-ENDLIST\n`);
    const { ffprobe } = await import("../src/ffprobe.js");
    const { defaultLimits } = await import("@krait/core");
    const source = { path, bytes: 100, kind: "media" as const, format: "" };
    await expectRejection(ffprobe(source, defaultLimits, undefined), "SOURCE_IS_PLAYLIST");
  });
});

describe("names that look like something else to ffmpeg", () => {
  test.each(["concat:a|b.mp4", "-y.mp4", "a%03d [page=2].mp4", "pipe:0", "spaced name.mp4"])("%s", async (name) => {
    await ffmpeg("-f lavfi -i testsrc2=size=32x32:rate=5:duration=1", at("plain.mp4"));
    copyFileSync(at("plain.mp4"), at(name));
    const source = await openSource(at(name));
    expect(source.path).toBe(at(name));
    const { video, error } = await collect(decode(at(name), { video: { sampling: "all" } }));
    expect(error).toBeUndefined();
    expect(video).toHaveLength(5);
  });

  test("relative to a folder, and as file URL", async () => {
    await ffmpeg("-f lavfi -i testsrc2=size=32x32:rate=5:duration=1", at("plain.mp4"));
    expect((await probe(`file://${at("plain.mp4")}`)).path).toBe(at("plain.mp4"));
  });
});

describe("random bytes", () => {
  test.each(["noise.wav", "noise.mp4", "noise.mp3", "noise"])("named %s", async (name) => {
    let state = 12345;
    for (const size of [1, 100, 5000, 300_000]) {
      const bytes = Buffer.alloc(size);
      for (let i = 0; i < size; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        bytes[i] = state >>> 24;
      }
      writeFileSync(at(name), bytes);
      await expectRejection(probe(at(name)), "MEDIA_INVALID");
      expectCode((await collect(decode(at(name), audio))).error, "MEDIA_INVALID");
      await expectRejection(readWav(at(name)), "MEDIA_INVALID");
    }
    expect(await processesNaming(at(name))).toEqual([]);
  });
});
