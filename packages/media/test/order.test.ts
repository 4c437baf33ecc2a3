import { describe, expect, test } from "vitest";
import { AudioTimeline } from "../src/audio-timeline.js";
import type { MediaPart } from "../src/index.js";
import { PartOrder } from "../src/part-order.js";
import { FrameSampler, samplingGrid } from "../src/sampling.js";
import { expectCode, joinAudio } from "./helpers.js";

const frame = (start: number) => ({
  kind: "video" as const,
  pixels: new Uint8Array(3),
  width: 1,
  height: 1,
  start,
  end: start,
});
const sound = (start: number) => ({ kind: "audio" as const, samples: new Float32Array(10), sampleRate: 16000, start });
const show = (parts: Iterable<MediaPart>) =>
  [...parts].map((part) => (part.kind === "video" ? `v${part.start}-${part.end}` : `a${part.start}`));

describe("PartOrder", () => {
  test("a frame ends where the next begins, and audio in between waits for it", () => {
    const order = new PartOrder(0.04);
    expect(show(order.audio(sound(0)))).toEqual([]);
    expect(show(order.video(frame(0.5)))).toEqual(["a0"]);
    expect(show(order.audio(sound(0.4)))).toEqual([]);
    expect(show(order.audio(sound(0.8)))).toEqual(["a0.4"]);
    expect(order.buffered).toBe(43);
    expect(show(order.video(frame(1)))).toEqual(["v0.5-1", "a0.8"]);
    expect(show(order.audio(sound(1.5)))).toEqual([]);
    expect(show(order.flush())).toEqual(["v1-1.04", "a1.5"]);
    expect(order.buffered).toBe(0);
  });

  test("audio that arrives a little after a later frame still leaves before it", () => {
    const order = new PartOrder(0.04);
    const shown = [
      ...show(order.video(frame(1))),
      ...show(order.video(frame(1.04))),
      ...show(order.audio(sound(0.98))),
      ...show(order.video(frame(1.08))),
      ...show(order.flush()),
    ];
    expect(shown).toEqual(["a0.98", "v1-1.04", "v1.04-1.08", "v1.08-1.12"]);
  });

  test("a frame that nothing follows holds no more than a minute of audio", () => {
    const order = new PartOrder(0.04);
    expect(show(order.video(frame(0)))).toEqual([]);
    let most = 0;
    const shown: string[] = [];
    for (let i = 0; i < 1000; i++) {
      shown.push(...show(order.audio(sound(i / 10))));
      most = Math.max(most, order.buffered);
    }
    shown.push(...show(order.flush()));
    expect(shown[0]).toBe("v0-0.04");
    expect(shown).toHaveLength(1001);
    expect(most).toBeLessThan(700 * 40);
    // The same rule in media time, without any audio to push it.
    const silent = new PartOrder(0.04);
    expect(show(silent.video(frame(0)))).toEqual([]);
    expect(show(silent.video(frame(100)))).toEqual(["v0-0.04"]);
    expect(show(silent.video(frame(160)))).toEqual(["v100-160"]);
  });
});

describe("AudioTimeline", () => {
  const ones = (length: number) => new Float32Array(length).fill(1);
  const lay = (packets: [number, number][], maxGap = 100) => {
    const timeline = new AudioTimeline(16000, "x", maxGap);
    return joinAudio([
      ...packets.flatMap(([time, length]) => [...timeline.push(time, ones(length))]),
      ...timeline.flush(),
    ]);
  };

  test("jitter is smoothed, gaps are filled, overlaps dropped", () => {
    expect(
      lay([
        [1, 1600],
        [1.11, 1600],
        [1.19, 1600],
      ]),
    ).toEqual({ start: 1, samples: ones(4800) });
    const gap = lay([
      [0.5, 1600],
      [1, 1600],
    ]);
    expect(gap.samples).toHaveLength(9600);
    expect([...gap.samples.subarray(1600, 8000)].every((value) => value === 0)).toBe(true);
    expect(gap.samples[8000]).toBe(1);
    expect(
      lay([
        [0, 1600],
        [0.05, 1600],
      ]).samples,
    ).toHaveLength(2400);
    expect(
      lay([
        [0, 16000],
        [0.1, 100],
      ]).samples,
    ).toHaveLength(16000);
  });

  test("packets that crowd ahead of the clock belong where the last one ended", () => {
    const crowd = Array.from({ length: 4 }, (_, i): [number, number] => [0.5 + i / 16000, 1600]);
    const { start, samples } = lay([[0, 1600], ...crowd, [0.5, 1600]]);
    expect(start).toBe(0);
    expect(samples).toHaveLength(6 * 1600);
    expect(samples.every((value) => value === 1)).toBe(true);
  });

  test("small gaps that add up are filled too", () => {
    const packets = Array.from({ length: 100 }, (_, i): [number, number] => [i * 0.105, 1600]);
    expect(Math.abs(lay(packets).samples.length / 16000 - 10.495)).toBeLessThan(0.021);
  });

  test("a century apart, and a clock that keeps jumping back", () => {
    const code = (packets: [number, number][], expected: string) => {
      try {
        lay(packets);
        expect.unreachable();
      } catch (error) {
        expectCode(error, expected);
      }
    };
    code(
      [
        [0, 10],
        [3e9, 10],
      ],
      "MEDIA_TIMES_INVALID",
    );
    code(
      [
        [0, 16000 * 20],
        [0, 16000 * 20],
      ],
      "MEDIA_TIMES_INVALID",
    );
  });

  test("silence of an hour is made part by part", () => {
    const timeline = new AudioTimeline(16000, "x", 4000);
    [...timeline.push(0, ones(10))];
    // Not believed before the next packet joins it.
    expect([...timeline.push(3600, ones(10))]).toEqual([]);
    let samples = 0;
    for (const part of timeline.push(3600 + 10 / 16000, ones(10))) {
      expect(part.samples.length).toBeLessThanOrEqual(1600);
      samples += part.samples.length;
    }
    expect(samples).toBeGreaterThan(3599 * 16000);
    expect(timeline.buffered).toBeLessThanOrEqual(6400);
  });
});

describe("sampling", () => {
  const stream = { index: 0, kind: "video", codec: "x", startSeconds: 0 } as const;

  test("times that fall or stand still are never kept", () => {
    const sampler = new FrameSampler(undefined);
    expect([0, 1, 1, 0.5, 2].map((time) => sampler.keeps(time))).toEqual([true, true, false, false, true]);
  });

  test("a count needs a duration", () => {
    expect(() => samplingGrid({ count: 3 }, stream, undefined, 0, Number.POSITIVE_INFINITY)).toThrow(/known duration/);
    const grid = samplingGrid({ count: 3 }, stream, undefined, 3, 9)!;
    const sampler = new FrameSampler(grid);
    const kept = Array.from({ length: 100 }, (_, i) => 3 + i / 10).filter((time) => sampler.keeps(time));
    expect(kept).toEqual([4.1, 6.1, 8.1].map((t) => expect.closeTo(t, 9)));
  });
});
