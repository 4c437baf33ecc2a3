import { execFileSync } from "node:child_process";
import { constants } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { compiled, emptyFolder, expectRefusal } from "../command.js";

/** A server that only counts who comes. */
async function bait(): Promise<{ address: string; visits: () => number }> {
  let visits = 0;
  const server = createServer((_, response) => response.end());
  server.on("connection", () => visits++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, visits: () => visits };
}

/** A FIFO that tells whether somebody has opened it for reading: only then a writer that does not wait gets in. */
function trap(path: string): { opened: () => boolean } {
  execFileSync("mkfifo", [path]);
  let opened = false;
  const timer = setInterval(async () => {
    const file = await open(path, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined);
    if (file !== undefined) opened = true;
    await file?.close();
  }, 5);
  onTestFinished(() => clearInterval(timer));
  return { opened: () => opened };
}

const playlists = {
  "hls.mp4": (target: string) => `#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n${target}\n#EXT-X-ENDLIST\n`,
  "hls.wav": (target: string) => `\n  #EXTM3U\n#EXTINF:5,\n${target}\n`,
  "concat.mkv": (target: string) => `ffconcat version 1.0\nfile '${target}'\n`,
  "dash.mp4": (target: string) =>
    `<?xml version="1.0"?>\n<MPD type="static"><Period><AdaptationSet><Representation><BaseURL>${target}</BaseURL></Representation></AdaptationSet></Period></MPD>\n`,
};

describe.skipIf(!compiled || process.platform === "win32").each(Object.entries(playlists))(
  "a playlist named %s",
  (name, playlist) => {
    it("is refused, and the address in it is not visited", async () => {
      const folder = await emptyFolder();
      const { address, visits } = await bait();
      await writeFile(join(folder, name), playlist(`${address}/clip.ts`));
      await expectRefusal(folder, [name], { code: "SOURCE_IS_PLAYLIST" });
      expect(visits()).toBe(0);
    });

    it("is refused, and the file in it is not opened", async () => {
      const folder = await emptyFolder();
      const { opened } = trap(join(folder, "secret.ts"));
      await writeFile(join(folder, name), playlist(join(folder, "secret.ts")));
      await expectRefusal(folder, [name], { code: "SOURCE_IS_PLAYLIST" });
      expect(opened()).toBe(false);
    });
  },
);
