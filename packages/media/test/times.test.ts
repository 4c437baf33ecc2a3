import { describe, expect, test } from "vitest";
import { decode, probe } from "../src/index.js";
import { decoded, ffmpeg, frameTimes, joinAudio, mean, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const small = { width: 32, height: 24, fit: "stretch" } as const;
const audio = { sampleRate: 16000 } as const;

describe("every frame keeps the container's time", () => {
  const clips: [string, string, string][] = [
    [
      "23.976 fps, B-frames",
      "-f lavfi -i testsrc2=size=64x48:rate=24000/1001:duration=3 -c:v libx264 -bf 3",
      "film.mp4",
    ],
    ["29.97 fps", "-f lavfi -i testsrc2=size=64x48:rate=30000/1001:duration=3 -c:v libx264", "ntsc.mp4"],
    [
      "29.97 fps in milliseconds",
      "-f lavfi -i testsrc2=size=64x48:rate=30000/1001:duration=3 -c:v libx264",
      "ntsc.mkv",
    ],
    ["25 fps in avi", "-f lavfi -i testsrc2=size=64x48:rate=25:duration=3 -c:v mpeg4", "pal.avi"],
    [
      "transport stream with its own clock",
      "-f lavfi -i testsrc2=size=64x48:rate=25:duration=3 -c:v mpeg2video",
      "ts.ts",
    ],
    [
      "variable rate",
      "-f lavfi -i testsrc2=size=64x48:rate=30:duration=4 -vf select='lt(mod(n\\,7)\\,2)+gt(n\\,90)' -vsync vfr -c:v libx264",
      "vfr.mp4",
    ],
    ["late video start", "-itsoffset 0.7 -f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -c:v libx264", "late.mp4"],
  ];

  for (const [name, args, file] of clips) {
    test(name, async () => {
      const path = await ffmpeg(args.replaceAll("'", ""), at(file));
      const times = await frameTimes(path);
      const { video } = await decoded(decode(path, { video: { sampling: "all", ...small } }));
      expect(video).toHaveLength(times.length);
      for (const [i, frame] of video.entries()) {
        // ffprobe prints microseconds.
        expect(Math.abs(frame.start - times[i]!)).toBeLessThan(1e-6);
        expect(frame.pixels).toHaveLength(32 * 24 * 3);
        if (i + 1 < video.length) expect(frame.end).toBe(video[i + 1]!.start);
        else expect(frame.end).toBeGreaterThan(frame.start);
      }
    });
  }
});

describe("sampling by rate", () => {
  test.each([
    ["film.mp4", "24000/1001", 1],
    ["ntsc.mp4", "30000/1001", 2],
    ["pal.mp4", "25", 1],
    ["pal.mkv", "25", 4],
    ["ntsc3.mkv", "30000/1001", 3],
  ])("%s at %s keeps the first frame at or after k / %d", async (file, rate, fps) => {
    const path = await ffmpeg(`-f lavfi -i testsrc2=size=64x48:rate=${rate}:duration=5 -c:v libx264 -bf 2`, at(file));
    const times = await frameTimes(path);
    const expected: number[] = [];
    for (let k = 0; k / fps < 5; k++) {
      const first = times.find((time) => time >= k / fps - 0.0006);
      if (first !== undefined && first !== expected.at(-1)) expected.push(first);
    }
    const { video } = await decoded(decode(path, { video: { sampling: { fps }, ...small } }));
    expect(video.map((frame) => frame.start.toFixed(5))).toEqual(expected.map((time) => time.toFixed(5)));
    for (const [i, frame] of video.slice(0, -1).entries()) expect(frame.end).toBe(video[i + 1]!.start);
    // The last one shows for its own duration, not for the asked interval.
    const [num, den = 1] = rate.split("/").map(Number);
    expect(video.at(-1)!.end - video.at(-1)!.start).toBeCloseTo(den / num!, 3);
  });

  test("asking for the clip's own rate keeps every frame, though Matroska rounds its times", async () => {
    const path = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=30:duration=3 -c:v libx264", at("thirty.mkv"));
    const { video } = await decoded(decode(path, { video: { sampling: { fps: 30 }, ...small } }));
    expect(video).toHaveLength(90);
  });

  test("a frame is kept once, however long it shows", async () => {
    const filter = "select=eq(n\\,0)+eq(n\\,65)+eq(n\\,66)";
    const path = await ffmpeg(
      `-f lavfi -i testsrc2=size=64x48:rate=25:duration=4 -vf ${filter} -vsync vfr -c:v libx264`,
      at("slides.mp4"),
    );
    const { video } = await decoded(decode(path, { video: { sampling: { fps: 1 }, ...small } }));
    expect(video.map((frame) => frame.start)).toEqual([0, 2.6]);
    expect(video[0]!.end).toBe(2.6);
  });

  test("from start to end, on the grid of start, equal to the whole run there", async () => {
    const path = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=25:duration=8 -c:v libx264 -g 50", at("range.mp4"));
    const whole = await decoded(decode(path, { video: { sampling: { fps: 2 }, ...small } }));
    const part = await decoded(decode(path, { video: { sampling: { fps: 2 }, ...small }, start: 3, end: 6 }));
    const there = whole.video.filter((frame) => frame.start >= 3 && frame.start < 6);
    expect(part.video.map((frame) => frame.start)).toEqual([3, 3.5, 4, 4.5, 5, 5.5].map((t) => expect.closeTo(t, 1)));
    expect(part.video.map((frame) => frame.start)).toEqual(there.map((frame) => frame.start));
    for (const [i, frame] of part.video.entries()) expect(frame.pixels).toEqual(there[i]!.pixels);
  });

  test("a range of a transport stream misses no frame", async () => {
    const path = await ffmpeg(
      "-f lavfi -i testsrc2=size=64x48:rate=25:duration=30 -c:v mpeg2video -g 60",
      at("long.ts"),
    );
    const times = (await frameTimes(path)).filter((time) => time >= 21 && time < 23);
    const { video } = await decoded(decode(path, { video: { sampling: "all", ...small }, start: 21, end: 23 }));
    expect(video.map((frame) => frame.start.toFixed(5))).toEqual(times.map((time) => time.toFixed(5)));
  });
});

describe("sampling by count", () => {
  test.each([1, 2, 7, 8, 100])("%d frames show at the centres of equal segments", async (count) => {
    const path = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=25:duration=4 -c:v libx264", at("count.mp4"));
    const times = await frameTimes(path);
    const { video } = await decoded(decode(path, { video: { sampling: { count }, ...small } }));
    expect(times).toHaveLength(100);
    const shownAt = (t: number) => times.findLast((time) => time <= t + 1e-9)!;
    const centres = Array.from({ length: count }, (_, i) => ((i + 0.5) * 4) / count);
    expect(video.map((frame) => frame.start.toFixed(5))).toEqual(centres.map((t) => shownAt(t).toFixed(5)));
  });

  test("more than there are gives each frame once", async () => {
    const path = await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -c:v libx264", at("few.mp4"));
    const { video } = await decoded(decode(path, { video: { sampling: { count: 1000 }, ...small } }));
    expect(video).toHaveLength(25);
  });
});

describe("sampling by times", () => {
  test.each([
    ["25", "cfr.mp4"],
    ["30000/1001", "ntsc.mkv"],
  ])("at %s frames per second gives the frames that show then", async (rate, file) => {
    const path = await ffmpeg(
      `-f lavfi -i testsrc2=size=64x48:rate=${rate}:duration=9 -c:v libx264 -bf 2 -g 50`,
      at(file),
    );
    const shown = await frameTimes(path);
    const wanted = [7.031, 0, 2.5, 2.504, 8.9, 2.51];
    const expected = new Set(wanted.sort((a, b) => a - b).map((t) => shown.findLast((time) => time <= t + 0.0006)!));
    const { video } = await decoded(decode(path, { video: { sampling: { times: wanted }, ...small } }));
    expect(video.map((frame) => frame.start.toFixed(5))).toEqual([...expected].map((time) => time.toFixed(5)));
    const some = await decoded(decode(path, { video: { sampling: { times: wanted }, ...small }, start: 1, end: 8 }));
    expect(some.video.map((frame) => frame.start)).toEqual(
      video.map((frame) => frame.start).filter((time) => time > 0 && time < 8),
    );
  });

  test("many of them fit the command line, none of them is an error", async () => {
    const path = at("cfr.mp4");
    const times = Array.from({ length: 2000 }, (_, i) => i * 0.004);
    const { video } = await decoded(decode(path, { video: { sampling: { times }, ...small } }));
    expect(video).toHaveLength(200);
    expect(() => decode(path, { video: { sampling: { times: [] }, ...small } })).toThrow(/times/);
    expect(() => decode(path, { video: { sampling: { times: [-1] }, ...small } })).toThrow(/times/);
  });
});

test("sampling by key frames gives these, at their times", async () => {
  const path = await ffmpeg(
    "-f lavfi -i testsrc2=size=64x48:rate=25:duration=9 -c:v libx264 -g 40 -bf 2",
    at("key.mp4"),
  );
  const whole = await decoded(decode(path, { video: { sampling: "all", ...small }, audio: undefined }));
  const { video } = await decoded(decode(path, { video: { sampling: "key", ...small } }));
  expect(video.map((frame) => frame.start)).toEqual([0, 1.6, 3.2, 4.8, 6.4, 8].map((time) => expect.closeTo(time, 3)));
  for (const frame of video) {
    expect(frame.pixels).toEqual(whole.video.find((other) => Math.abs(other.start - frame.start) < 1e-6)!.pixels);
  }
  expect(video[0]!.end).toBe(video[1]!.start);
});

describe("audio and video on one clock", () => {
  /** White for 0.1 s and a 1 kHz tone at the same instants, from t = 1 on every second. */
  const flash =
    "color=black:size=64x48:rate=50:duration=5,geq=lum='if(lt(mod(T\\,1)\\,0.1)*gte(T\\,0.5)\\,235\\,16)':cb=128:cr=128";
  const beep =
    "aevalsrc='if(lt(mod(t\\,1)\\,0.1)*gte(t\\,0.5)\\,0.5*sin(2*PI*1000*t)\\,0)':sample_rate=48000:duration=5";

  test.each([
    ["mp4", "-c:v libx264 -c:a aac"],
    ["mkv", "-c:v libx264 -c:a flac"],
    ["webm", "-c:v libvpx -deadline realtime -c:a libopus"],
    ["ts", "-c:v mpeg2video -c:a mp2"],
    ["mov", "-c:v mjpeg -c:a pcm_s16le"],
  ])("flash and beep coincide in %s", async (extension, codecs) => {
    const path = await ffmpeg(
      `-f lavfi -i ${flash.replaceAll("'", "")} -f lavfi -i ${beep.replaceAll("'", "")} ${codecs}`,
      at(`sync.${extension}`),
    );
    const result = await decoded(decode(path, { video: { sampling: "all", ...small }, audio }));
    const { start, samples } = joinAudio(result.audio);
    const origin = result.video[0]!.start;
    const flashes: number[] = [];
    let bright = false;
    for (const frame of result.video) {
      const now = mean(frame.pixels) > 128;
      if (now && !bright) flashes.push(frame.start);
      bright = now;
    }
    expect(flashes.map((t) => t - origin)).toEqual([1, 2, 3, 4].map((t) => expect.closeTo(t, 2)));
    for (const time of flashes) {
      const from = Math.round((time - 0.2 - start) * 16000);
      const onset = samples.subarray(from, from + 8000).findIndex((value) => Math.abs(value) > 0.1);
      const seconds = start + (from + onset) / 16000;
      expect(Math.abs(seconds - time)).toBeLessThan(0.02);
    }
  });

  test("a late audio start is kept, nothing is put before it", async () => {
    const path = await ffmpeg(
      "-f lavfi -i testsrc2=size=64x48:rate=25:duration=4 -itsoffset 1.5 -f lavfi -i sine=sample_rate=44100:duration=2 -map 0 -map 1 -c:v libx264 -c:a flac",
      at("late-audio.mkv"),
    );
    const result = await decoded(decode(path, { video: { sampling: { fps: 5 }, ...small }, audio }));
    const { start, samples } = joinAudio(result.audio);
    expect(Math.abs(start - 1.5)).toBeLessThan(0.002);
    expect(samples.length / 16000).toBeCloseTo(2, 2);
  });

  test.each([
    ["side by side", "-f lavfi -i testsrc2=size=64x48:rate=25:duration=30 -f lavfi -i sine=duration=30"],
    ["audio ends early", "-f lavfi -i testsrc2=size=64x48:rate=25:duration=30 -f lavfi -i sine=duration=3"],
    ["video ends early", "-f lavfi -i testsrc2=size=64x48:rate=25:duration=3 -f lavfi -i sine=duration=30"],
    [
      "audio begins late",
      "-f lavfi -i testsrc2=size=64x48:rate=25:duration=30 -itsoffset 20 -f lavfi -i sine=duration=5",
    ],
  ])("parts leave in the order of their starts: %s", async (name, args) => {
    const path = await ffmpeg(
      `${args} -map 0 -map 1 -c:v libx264 -bf 2 -c:a aac`,
      at(`${name.replaceAll(" ", "-")}.mp4`),
    );
    for (const sampling of ["all", { fps: 1 }, { count: 2 }] as const) {
      const { parts, video } = await decoded(decode(path, { video: { sampling, ...small }, audio }));
      const starts = parts.map((part) => part.start);
      expect(starts).toEqual([...starts].sort((a, b) => a - b));
      expect(video.length).toBeGreaterThan(1);
    }
  });

  test("one frame of hours ago holds the sound no longer than a minute", async () => {
    const path = await ffmpeg(
      "-f lavfi -i testsrc2=size=64x48:rate=1:duration=400 -f lavfi -i sine=sample_rate=8000:duration=400 -c:v libx264 -c:a aac",
      at("sparse.mkv"),
    );
    const stream = decode(path, { video: { sampling: { count: 2 }, ...small }, audio });
    let most = 0;
    const frames: [number, number][] = [];
    let parts = 0;
    for await (const part of stream) {
      most = Math.max(most, stream.bufferedBytes);
      if (part.kind === "video") frames.push([part.start, part.end]);
      else parts++;
    }
    expect(frames.map(([start]) => start)).toEqual([100, 300].map((t) => expect.closeTo(t, 0)));
    for (const [start, end] of frames) expect(end - start).toBeCloseTo(1, 6);
    expect(parts).toBeGreaterThan(3990);
    expect(most).toBeLessThan(75 * 16000 * 4 + 2 ** 20);
  });

  test("a picture that was filmed sideways stands upright", async () => {
    const flat = await ffmpeg(
      "-f lavfi -i color=red:size=64x48:rate=5:duration=1,drawbox=x=0:y=0:w=16:h=48:color=blue:t=fill -c:v libx264",
      at("flat.mp4"),
    );
    // This ffmpeg writes the tag as a counter-clockwise display matrix.
    const turned = await ffmpeg(`-i ${flat} -c copy -metadata:s:v rotate=90`, at("turned.mp4"));
    expect((await probe(turned)).streams[0]).toMatchObject({ width: 64, height: 48, rotation: 270 });
    const [frame] = (await decoded(decode(turned, { video: { sampling: "all" } }))).video;
    expect([frame!.width, frame!.height]).toEqual([48, 64]);
    // 270 degrees clockwise: the stored left edge is at the bottom.
    const blue = (x: number, y: number) => frame!.pixels[(y * 48 + x) * 3 + 2]!;
    expect(blue(24, 60)).toBeGreaterThan(200);
    expect(blue(24, 4)).toBeLessThan(60);
  });

  test("a range cuts audio at the sample", async () => {
    const whole = joinAudio((await decoded(decode(at("sync.mkv"), { audio }))).audio);
    const part = joinAudio((await decoded(decode(at("sync.mkv"), { audio, start: 2.5, end: 3.25 }))).audio);
    expect(Math.abs(part.start - 2.5)).toBeLessThan(1 / 16000 + 0.001);
    expect(part.samples.length).toBe(12000);
    const from = Math.round((part.start - whole.start) * 16000);
    // Away from the ends, where the resampler has not heard the other side.
    for (let i = 100; i < 11900; i++) expect(Math.abs(part.samples[i]! - whole.samples[from + i]!)).toBeLessThan(2e-3);
  });

  test("a gap inside the audio becomes silence of its length", async () => {
    const tone = "aevalsrc=0.5*sin(2*PI*440*t):sample_rate=16000:duration=4";
    const path = await ffmpeg(`-f lavfi -i ${tone} -af aselect=lt(t\\,1)+gte(t\\,2.5) -c:a pcm_s16le`, at("gap.mkv"));
    const { start, samples } = joinAudio((await decoded(decode(path, { audio }))).audio);
    expect(start).toBe(0);
    expect(samples.length / 16000).toBeCloseTo(4, 1);
    const loud = (from: number, to: number) => Math.max(...samples.subarray(from * 16000, to * 16000).map(Math.abs));
    expect(loud(0, 0.9)).toBeGreaterThan(0.4);
    expect(loud(1.15, 2.4)).toBe(0);
    expect(loud(2.7, 3.9)).toBeGreaterThan(0.4);
  });

  test("what lies before zero is clipped", async () => {
    // Opus brings 6.5 ms of run-in before its zero.
    const opus = await ffmpeg("-f lavfi -i sine=sample_rate=48000:duration=1 -c:a libopus", at("run-in.webm"));
    expect((await probe(opus)).streams[0]!.startSeconds).toBeLessThan(0);
    const { start, samples } = joinAudio((await decoded(decode(opus, { audio }))).audio);
    expect(start).toBeGreaterThanOrEqual(0);
    expect(start).toBeLessThan(0.001);
    expect(samples.length / 16000).toBeCloseTo(1, 1);
    // A cut between key frames: the edit list of the copy begins in the middle of a group of pictures.
    await ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=25:duration=4 -c:v libx264 -g 50 -bf 2", at("whole.mp4"));
    const cut = await ffmpeg(`-ss 1.4 -i ${at("whole.mp4")} -c copy`, at("cut.mp4"));
    const { video } = await decoded(decode(cut, { video: { sampling: "all", ...small } }));
    const whole = await decoded(decode(at("whole.mp4"), { video: { sampling: "all", ...small } }));
    expect(video).toHaveLength(65);
    expect(video[0]!.start).toBe(0);
    expect(video[0]!.pixels).toEqual(whole.video[35]!.pixels);
  });

  test("channels are averaged without weights", async () => {
    const path = await ffmpeg(
      "-f lavfi -i aevalsrc=0.6|0|0|0|0|0:channel_layout=5.1:sample_rate=16000:duration=1 -c:a flac",
      at("surround.mkv"),
    );
    const { samples } = joinAudio((await decoded(decode(path, { audio }))).audio);
    expect(mean(samples.subarray(1000, 15000))).toBeCloseTo(0.1, 3);
    const [stream] = (await probe(path)).streams;
    expect(stream).toMatchObject({ kind: "audio", channels: 6, sampleRate: 16000, channelLayout: "5.1" });
  });
});
