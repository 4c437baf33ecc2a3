import { chmodSync, writeFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { decode, probe, readImage, readWav } from "../src/index.js";
import { collect, expectCode, expectRejection, ffmpeg, processesNaming, temporaryFolder, zombies } from "./helpers.js";

const at = temporaryFolder();
const audio = { sampleRate: 16000 } as const;
const video = { sampling: "all", width: 320, height: 240, fit: "stretch" } as const;

let made: Promise<string> | undefined;
/** Long enough that no test decodes it whole. */
function long(): Promise<string> {
  made ??= ffmpeg(
    "-f lavfi -i testsrc2=size=320x240:rate=25:duration=40 -f lavfi -i sine=duration=40 -c:v mpeg4 -c:a aac",
    at("long.mp4"),
  );
  return made;
}

async function gone(path: string): Promise<void> {
  expect(await processesNaming(path)).toEqual([]);
  expect(zombies()).toEqual([]);
}

describe("stopping", () => {
  test("abort in mid-way throws and leaves no process", async () => {
    const path = await long();
    const controller = new AbortController();
    const stream = decode(path, { video, audio, signal: controller.signal });
    let parts = 0;
    const error = await (async () => {
      for await (const _ of stream) {
        if (++parts === 20) {
          expect(await processesNaming(path)).toHaveLength(1);
          controller.abort();
        }
      }
    })().catch((thrown: unknown) => thrown);
    expectCode(error, "ABORTED");
    expect(parts).toBe(20);
    await gone(path);
    expect(stream.bufferedBytes).toBe(0);
  });

  test("abort before the start, and while probing", async () => {
    const path = await long();
    expectCode((await collect(decode(path, { audio, signal: AbortSignal.abort() }))).error, "ABORTED");
    await expectRejection(probe(path, { signal: AbortSignal.abort() }), "ABORTED");
    const controller = new AbortController();
    const probing = probe(path, { signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await probing.catch((error: unknown) => expectCode(error, "ABORTED"));
    await gone(path);
  });

  test("leaving the loop, by break and by throw", async () => {
    const path = await long();
    for await (const part of decode(path, { video, audio })) if (part.start > 1) break;
    await gone(path);
    await expect(async () => {
      for await (const part of decode(path, { video, audio })) if (part.start > 1) throw new Error("mine");
    }).rejects.toThrow("mine");
    await gone(path);
  });

  test("close() from outside ends a loop that waits, twice is once, before the start nothing starts", async () => {
    const path = await long();
    const stream = decode(path, { video, audio });
    let parts = 0;
    for await (const _ of stream) if (++parts === 5) void stream.close();
    expect(parts).toBe(5);
    await stream.close();
    await stream.close();
    await gone(path);
    const unused = decode(path, { video });
    await unused.close();
    expect((await collect(unused)).parts).toEqual([]);
  });

  test("a second loop is refused", async () => {
    const stream = decode(await long(), { audio, end: 1 });
    await collect(stream);
    expect(() => stream[Symbol.asyncIterator]()).toThrow(/second/);
  });
});

test("a consumer that sleeps holds the decoder, and memory stays flat", async () => {
  const path = await long();
  const stream = decode(path, { video, audio });
  const frame = 320 * 240 * 3;
  let parts = 0;
  let most = 0;
  for await (const _ of stream) {
    parts++;
    if (parts % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 100));
    most = Math.max(most, stream.bufferedBytes);
    if (parts === 400) break;
  }
  // The pipe's two buffers, one frame in assembly and one held back, and its audio. 40 s of frames are 230 MB.
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(3 * 2 ** 20 + 3 * frame);
  await gone(path);
});

describe("programs", () => {
  const saved = { ...process.env };
  afterEach(() => {
    process.env = { ...saved };
  });
  const script = (name: string, body: string) => {
    writeFileSync(at(name), `#!/bin/sh\n${body}\n`);
    chmodSync(at(name), 0o755);
    return at(name);
  };

  test("without ffmpeg: a hint, and wav and images still work", async () => {
    const movie = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=5:duration=1", at("movie.mp4"));
    const wav = await ffmpeg("-f lavfi -i sine=duration=1:sample_rate=44100 -c:a pcm_s16le", at("sound.wav"));
    const png = await ffmpeg("-f lavfi -i testsrc2=size=64x48 -frames:v 1", at("still.png"));
    process.env.PATH = at("nowhere");
    const error = await expectRejection(probe(movie), "FFMPEG_NOT_FOUND");
    expect(error.kind).toBe("environment");
    expect(error.hint).toMatch(/apt-get install ffmpeg/);
    expectCode((await collect(decode(movie, { video }))).error, "FFMPEG_NOT_FOUND");
    expect((await probe(wav)).durationSeconds).toBe(1);
    expect((await collect(decode(wav, { audio }))).audio).toHaveLength(10);
    expect((await readWav(wav)).samples).toHaveLength(44100);
    expect((await probe(png)).streams[0]).toMatchObject({ kind: "image", width: 64, height: 48 });
    expect((await readImage(png)).width).toBe(64);
    expect((await collect(decode(png, { video }))).video).toHaveLength(1);
  });

  test("an ffmpeg that stalls", async () => {
    const movie = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=5:duration=1", at("movie.mp4"));
    process.env.KRAIT_FFMPEG = script("sleeper", "exec sleep 987");
    const { error } = await collect(decode(movie, { video, limits: { stallSeconds: 0.3 } }));
    expectCode(error, "MEDIA_STALLED");
    await gone("sleep 987");
    process.env.KRAIT_FFPROBE = at("sleeper");
    await expectRejection(probe(movie, { limits: { stallSeconds: 0.3 } }), "MEDIA_STALLED");
    await gone("sleep 987");
  });

  test("an ffmpeg that works without output has not stalled", async () => {
    const path = await long();
    process.env.KRAIT_FFMPEG = script(
      "slow",
      'for i in $(seq 30); do echo "progress=continue" >&2; sleep 0.1; done\nexec ffmpeg "$@"',
    );
    const { error, video: frames } = await collect(
      decode(path, { video: { ...video, sampling: { count: 1 } }, end: 1, limits: { stallSeconds: 2 } }),
    );
    expect(error).toBeUndefined();
    expect(frames).toHaveLength(1);
  });

  test("an ffmpeg that cannot run, fails, or writes something else", async () => {
    const movie = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=5:duration=1", at("movie.mp4"));
    const code = async (path: string, expected: string) => {
      process.env.KRAIT_FFMPEG = path;
      const { error } = await collect(decode(movie, { video }));
      expectCode(error, expected);
      return (error as Error).message;
    };
    writeFileSync(at("foreign"), "#!/no/such/interpreter\n");
    chmodSync(at("foreign"), 0o755);
    await code(at("foreign"), "FFMPEG_NOT_RUNNABLE");
    await code(script("unlinked", "echo cannot open shared object file >&2; exit 127"), "FFMPEG_NOT_RUNNABLE");
    await code(script("fails", "echo the disk is on fire >&2; exit 7"), "MEDIA_INVALID");
    expect(await code(at("fails"), "MEDIA_INVALID")).toMatch(/the disk is on fire/);
    await code(script("chatty", `echo ${"hello ".repeat(20)}; sleep 20`), "DECODER_OUTPUT_INVALID");
    await code(script("killed", "kill -9 $$"), "MEDIA_INVALID");
    await code(at("not-there"), "FFMPEG_NOT_FOUND");
    process.env.KRAIT_FFPROBE = at("foreign");
    await expectRejection(probe(movie), "FFMPEG_NOT_RUNNABLE");
  });
});

test("options are checked at once", () => {
  expect(() => decode("a.mp4", {})).toThrow(/Expected video or audio/);
  expect(() => decode("a.mp4", { audio, start: 3, end: 2 })).toThrow(/after start/);
  expect(() => decode("a.mp4", { video: { sampling: { fps: 0 } } })).toThrow(/sampling/);
  expect(() => decode("a.mp4", { video: { sampling: "all", width: 10 } })).toThrow(/both or neither/);
  expect(() => decode("a.mp4", { audio: { sampleRate: 8000 as 16000 } })).toThrow(/sampleRate/);
  expect(() => decode("a.mp4", { audio, stat: 3 } as never)).toThrow();
});
