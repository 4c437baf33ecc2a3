import type { Device } from "@krait/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AudioPayload,
  type AudioSamples,
  audioTokenSource,
  createLogMel,
  type LogMel,
  predictAudioTokens,
} from "../../src/audio/index.js";
import { interleave, type TokenBlock } from "../../src/sequence/index.js";
import { devices } from "../devices.js";
import { each, sound } from "./helpers.js";

/** A signal as parts of `size` samples that lie on one clock from `start` on. */
function parts(x: Float32Array, size: number, start = 0): AudioSamples[] {
  const list: AudioSamples[] = [];
  for (let at = 0; at < x.length; at += size) {
    list.push({ samples: x.subarray(at, at + size), sampleRate: 16000, start: start + at / 16000 });
  }
  return list;
}

interface Collected {
  start: number[];
  end: number[];
  values: number[];
  blocks: number[];
}

async function collect(source: AsyncIterable<TokenBlock<AudioPayload>>): Promise<Collected> {
  const all: Collected = { start: [], end: [], values: [], blocks: [] };
  for await (const { modality, count, start, end, row, column, payload } of source) {
    expect(modality).toBe(1);
    for (const list of [start, end, row, column]) expect(list).toHaveLength(count);
    expect([...row, ...column].every((v) => v === 0)).toBe(true);
    all.blocks.push(count);
    all.start.push(...start);
    all.end.push(...end);
    all.values.push(...payload.values);
  }
  return all;
}

describe.each(devices)("audio tokens on %s", (_, open) => {
  let device: Device;
  let logMel: LogMel;
  beforeAll(async () => {
    device = await open();
    logMel = await createLogMel(device, { chunkFrames: 10 });
  });
  afterAll(async () => {
    logMel?.close();
    await device?.close();
  });

  it.each([2, 4, 8] as const)("stacks %i mel frames to a token, with the media's own start", async (stack) => {
    const x = sound(1, 16 * 160);
    const { start, end, values } = await collect(audioTokenSource({ parts: each(parts(x, 700, 3.25)), logMel, stack }));
    expect(values).toEqual([...(await logMel.transform(x))]);
    expect(start).toHaveLength(16 / stack);
    start.forEach((time, i) => {
      expect(time).toBeCloseTo(3.25 + i * stack * 0.01, 12);
      expect(end[i]).toBeCloseTo(3.25 + (i + 1) * stack * 0.01, 12);
    });
  });

  it("completes the last token with silence and ends it with the signal", async () => {
    for (const normalization of ["fixed", "running"] as const) {
      const front = await createLogMel(device, { chunkFrames: 10, normalization });
      const x = sound(2, 19 * 160 + 77);
      const { start, end, values } = await collect(audioTokenSource({ parts: each(parts(x, 1600, 1)), logMel: front }));
      const frames = await front.transform(x);
      const stream = front.stream();
      await stream.push(x);
      await stream.finish();
      expect(start).toHaveLength(3);
      expect(values).toHaveLength(3 * 8 * 80);
      expect(values.slice(0, 19 * 80)).toEqual([...frames]);
      expect(new Set(values.slice(19 * 80))).toEqual(new Set([Math.fround(stream.silence)]));
      expect(Math.min(...frames)).toBeGreaterThanOrEqual(Math.fround(stream.silence) - 1e-6);
      expect(end[1]).toBeCloseTo(1.16, 12);
      expect(end[2]).toBeCloseTo(1 + x.length / 16000, 12);
      front.close();
    }
  });

  it("does not depend on how the samples are cut", async () => {
    const x = sound(3, 5000);
    const { values, start, end } = await collect(audioTokenSource({ parts: each(parts(x, 5000)), logMel }));
    for (const size of [37, 160, 1600]) {
      const again = await collect(audioTokenSource({ parts: each(parts(x, size)), logMel }));
      expect([again.values, again.start, again.end]).toEqual([values, start, end]);
    }
  });

  it("makes as many tokens as predicted", async () => {
    for (const length of [0, 1, 159, 160, 161, 1279, 1280, 1281, 1439, 1440, 3333]) {
      for (const stack of [2, 8] as const) {
        const { start, end } = await collect(
          audioTokenSource({ parts: each(parts(sound(4, length), 400)), logMel, stack }),
        );
        expect(start).toHaveLength(predictAudioTokens(length / 16000, { stack }));
        expect(start.every((time, i) => end[i]! > time)).toBe(true);
        expect(end.at(-1) ?? 0).toBeLessThanOrEqual(length / 16000 + 1e-9);
      }
    }
    expect(predictAudioTokens(3600)).toBe(45_000);
    expect(predictAudioTokens(3600, { stack: 2 })).toBe(180_000);
    for (const duration of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => predictAudioTokens(duration)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    }
  });

  it("asks for parts as its tokens are taken, and gives blocks of bounded size for a part of any", async () => {
    let asked = 0;
    let ended = false;
    async function* counted() {
      try {
        for (const part of parts(sound(5, 160_000), 800)) {
          asked++;
          yield part;
        }
      } finally {
        ended = true;
      }
    }
    const iterator = audioTokenSource({ parts: counted(), logMel })[Symbol.asyncIterator]();
    expect(asked).toBe(0);
    await iterator.next();
    // One block takes 10 frames, 1840 samples of padded signal.
    expect(asked).toBe(3);
    await iterator.return?.();
    expect([asked, ended]).toEqual([3, true]);
    const { blocks } = await collect(audioTokenSource({ parts: each(parts(sound(5, 16_000), 16_000)), logMel }));
    expect(Math.max(...blocks)).toBeLessThanOrEqual(2);
  });

  it("keeps its times in the flat sequence", async () => {
    const sources = [audioTokenSource({ parts: each(parts(sound(6, 8000), 1000, 1.9)), logMel })];
    const starts: number[] = [];
    for await (const part of interleave(sources, { separators: false })) {
      if (part.modality !== 255) starts.push(...part.block.start.subarray(part.from, part.to));
    }
    expect(starts).toEqual(Array.from({ length: 7 }, (_, i) => 1.9 + i * 0.08));
  });

  it.each([
    ["a hole", [0, 0.5], "AUDIO_TIMES_INVALID"],
    ["an overlap", [0, 0.05], "AUDIO_TIMES_INVALID"],
    ["a clock that falls back", [5, 1], "AUDIO_TIMES_INVALID"],
    ["no time", [Number.NaN, Number.NaN], "AUDIO_TIMES_INVALID"],
  ])("refuses parts with %s", async (_, times, code) => {
    const list = times.map((start) => ({ samples: sound(7, 1600), sampleRate: 16000, start }));
    await expect(collect(audioTokenSource({ parts: each(list), logMel }))).rejects.toMatchObject({
      kind: "input",
      code,
    });
  });

  it("forgives the jitter of packet times", async () => {
    const list = [0, 0.115, 0.185].map((start) => ({ samples: sound(7, 1600), sampleRate: 16000, start }));
    const { start } = await collect(audioTokenSource({ parts: each(list), logMel }));
    expect(start).toEqual([0, 0.08, 0.16, 0.24]);
  });

  it("names the media time of a sample that is no number", async () => {
    const list = parts(sound(8, 8000), 1600, 60);
    list[3]!.samples[16] = Number.NaN;
    await expect(collect(audioTokenSource({ parts: each(list), logMel }))).rejects.toMatchObject({
      kind: "input",
      code: "SAMPLES_NOT_FINITE",
      message: expect.stringContaining("60.3010 s"),
    });
  });

  it("refuses parts of other kinds", async () => {
    const frame = { kind: "video" as const, pixels: new Uint8Array(3), width: 1, height: 1, start: 0, end: 0 };
    for (const [part, code] of [
      [frame, "MODALITY_MISMATCH"],
      [{ samples: new Float64Array(5), sampleRate: 16000, start: 0 }, "MODALITY_MISMATCH"],
      [{ samples: new Float32Array(5), sampleRate: 44100, start: 0 }, "SAMPLE_RATE_MISMATCH"],
    ] as const) {
      const source = audioTokenSource({ parts: each([part as AudioSamples]), logMel });
      await expect(collect(source)).rejects.toMatchObject({ kind: "usage", code });
    }
  });

  it("refuses wrong options at once", async () => {
    const none = each<AudioSamples>([]);
    for (const options of [
      { parts: none, logMel, stack: 3 },
      { parts: [], logMel },
      { parts: none, logMel: {} },
      { parts: none },
    ]) {
      expect(() => audioTokenSource(options as never)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    }
    const exact = await createLogMel(device, { normalization: "exact" });
    expect(() => audioTokenSource({ parts: none, logMel: exact })).toThrow(
      expect.objectContaining({ code: "EXACT_NEEDS_WHOLE_SIGNAL" }),
    );
    exact.close();
  });

  it("starts anew behind a gap where asked to, as if the passages were files of their own", async () => {
    const [a, b] = [sound(31, 5000), sound(32, 4100)];
    const passages = [...parts(a, 700, 1), ...parts(b, 900, 7.5)];
    const joined = await collect(audioTokenSource({ parts: each(passages), logMel, gaps: "restart" }));
    const alone = [];
    for (const passage of [parts(a, 700, 1), parts(b, 900, 7.5)]) {
      alone.push(await collect(audioTokenSource({ parts: each(passage), logMel })));
    }
    for (const field of ["start", "end", "values"] as const) {
      expect(joined[field]).toEqual([...alone[0]![field], ...alone[1]![field]]);
    }
    await expect(collect(audioTokenSource({ parts: each(passages), logMel }))).rejects.toMatchObject({
      code: "AUDIO_TIMES_INVALID",
    });
    // Parts that go back in time are no gap.
    const back = audioTokenSource({ parts: each([...parts(a, 700, 1), ...parts(b, 900, 1)]), logMel, gaps: "restart" });
    await expect(collect(back)).rejects.toMatchObject({ code: "AUDIO_TIMES_INVALID" });
  });

  it("stops on a signal, also while a part is awaited", async () => {
    const controller = new AbortController();
    let asked = 0;
    const stuck = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          asked++;
          return asked === 1
            ? Promise.resolve({ done: false as const, value: parts(sound(9, 100), 100)[0]! })
            : new Promise<never>(() => undefined);
        },
      }),
    };
    const iteration = collect(audioTokenSource({ parts: stuck, logMel, signal: controller.signal }));
    setTimeout(() => controller.abort(), 20);
    await expect(iteration).rejects.toMatchObject({ code: "ABORTED" });
    const late = audioTokenSource({ parts: stuck, logMel, signal: controller.signal });
    await expect(collect(late)).rejects.toMatchObject({ code: "ABORTED" });
    expect(asked).toBe(2);
  });

  it("passes on what the parts throw", async () => {
    async function* broken() {
      yield parts(sound(9, 100), 100)[0]!;
      throw new Error("the disk is gone");
    }
    await expect(collect(audioTokenSource({ parts: broken(), logMel }))).rejects.toThrow("the disk is gone");
  });
});
