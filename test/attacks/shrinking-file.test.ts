import { truncateSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KraitError } from "@krait/core";
import { type DecodeOptions, decode } from "@krait/media";
import { describe, expect, it } from "vitest";
import { emptyFolder } from "../command.js";
import { ffmpeg, picture } from "./clip.js";

const frames: DecodeOptions = { video: { sampling: "all" } };
const sound: DecodeOptions = { audio: { sampleRate: 16000 } };
/** Larger than anything that reads ahead: most of it is still unread when the first part is there. */
const clips: [string, DecodeOptions, string][] = [
  ["clip.mkv", frames, `${picture(60, "320x240")} -c:v mjpeg -q:v 2`],
  ["clip.mp4", frames, `${picture(60, "320x240")} -c:v mjpeg -q:v 2 -movflags +faststart`],
  ["clip.wav", sound, "-f lavfi -i sine=duration=600:sample_rate=48000"],
];

describe("a file that shrinks while it is read", () => {
  it.each(clips)("%s gives what was read and then an error", async (name, options, args) => {
    const folder = await emptyFolder();
    const path = join(folder, name);
    ffmpeg(folder, `${args} ${name}`);
    const { size } = await stat(path);
    let parts = 0;
    const reading = (async () => {
      for await (const _ of decode(path, options)) {
        if (parts++ === 0) truncateSync(path, Math.floor(size * 0.6));
      }
    })();
    const error: unknown = await reading.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(KraitError.is(error) && error.code).toBe("MEDIA_TRUNCATED");
    expect(parts).toBeGreaterThan(1);
  });
});
