import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
import {
  audio,
  type Encoder,
  estimate,
  type Features,
  inspectEncoder,
  type LoadEncoderOptions,
  loadEncoder,
  type Pool,
  type Source,
  text,
  video,
} from "krait";
import { beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, relativeRms, tiny, tinyConfig } from "../../../test/fixtures.js";

type Place = "none" | "first" | "middle" | "last";
type Loading = LoadEncoderOptions & { order?: "temporal"; layout?: string };
const places = ["first", "middle", "last"] as const;
const at = folderOfTests();
const width = 32;

const configOf = (classToken: Place | undefined, { order, layout }: Loading = {}) => ({
  ...tinyConfig,
  sequence: { ...(classToken && { classToken }), ...(order && { order }) },
  stack: { ...tinyConfig.stack, ...(layout && { layout }) },
});

async function withEncoder<R>(place: Place | undefined, loading: Loading, work: (encoder: Encoder) => Promise<R>) {
  const { order: _, layout: __, ...options } = loading;
  const encoder = await loadEncoder({ ...tiny, config: configOf(place, loading) }, { device: "cpu", ...options });
  try {
    return await work(encoder);
  } finally {
    await encoder.close();
  }
}

const rowOf = ({ data }: Features, i: number) => data.subarray(i * width, (i + 1) * width);
const classIndex = ({ tokens }: Features) => tokens.findIndex(({ modality }) => modality === "class");
const wantedIndex = (place: Place, count: number) =>
  ({ first: 0, middle: Math.floor(count / 2), last: count })[place as "first"];

describe.skipIf(!built)("a class token", () => {
  let clip = "";
  beforeAll(() => {
    clip = makeClip(at("clip.mp4"), { seconds: 5 });
  });
  /** Its number of tokens is an estimate before it is decoded. */
  const mixed = (): Source[] => [text("What is it?"), video(clip, { fps: 5 }), audio(clip), text("The end.")];

  it.each([1, 2, 3, 127])("of %d tokens stands first, in the middle or last, and is counted", async (n) => {
    const words = [text("x".repeat(n))];
    for (const chunkTokens of [1, 2, 64, 4096]) {
      for (const place of places) {
        await withEncoder(place, { chunkTokens }, async (encoder) => {
          const features = await encoder.encode(words);
          expect(classIndex(features)).toBe(wantedIndex(place, n));
          expect(features.tokens.map(({ modality }) => modality).filter((m) => m === "text")).toHaveLength(n);
          const { tokens, exact, byModality } = await encoder.predict(words);
          expect({ tokens, exact, byModality }).toMatchObject({ tokens: n + 1, exact: true, byModality: { class: 1 } });
          expect(features.tokens).toHaveLength(n + 1);
        });
      }
    }
  });

  it("is none by default and for a sequence without tokens", async () => {
    for (const place of ["none", ...places] as const) {
      await withEncoder(place, {}, async (encoder) => {
        expect((await encoder.encode([text("")])).tokens).toEqual([]);
        expect((await encoder.predict([text("")])).tokens).toBe(0);
      });
    }
    const [none, absent] = await Promise.all(
      (["none", undefined] as const).map((place) => withEncoder(place, {}, (encoder) => encoder.encode(mixed()))),
    );
    expect(none).toEqual(absent);
    expect(classIndex(none!)).toBe(-1);
  });

  it("leaves all else in its place, has the time of its own, and bears on what stands behind it", async () => {
    const without = await withEncoder("none", { chunkTokens: 4096 }, (encoder) => encoder.encode(mixed()));
    const count = without.tokens.length;
    for (const place of places) {
      const features = await withEncoder(place, { chunkTokens: 4096 }, (encoder) => encoder.encode(mixed()));
      const index = wantedIndex(place, count);
      expect(features.tokens.toSpliced(index, 1)).toEqual(without.tokens);
      const time = place === "last" ? Math.max(...without.tokens.map(({ end }) => end)) : without.tokens[index]!.start;
      expect(features.tokens[index]).toEqual({ modality: "class", start: time, end: time, row: 0, column: 0 });
      const before = (of: Features) => of.data.subarray(0, index * width);
      if (index > 0) expect(relativeRms(before(features), before(without))).toBeLessThan(1e-5);
      if (index < count) expect(relativeRms(rowOf(features, index + 1), rowOf(without, index))).toBeGreaterThan(1e-3);
    }
  });

  it("is the same in bfloat16 as far as that goes", async () => {
    const run = (dtype: "f32" | "bf16") => withEncoder("last", { dtype }, (encoder) => encoder.encode(mixed()));
    const [f32, bf16] = [await run("f32"), await run("bf16")];
    expect(relativeRms(rowOf(bf16, classIndex(bf16)), rowOf(f32, classIndex(f32)))).toBeLessThan(2e-2);
  });

  it.each(places)("that is %s is the same streamed in any chunks, also in temporal order", async (place) => {
    for (const order of [undefined, "temporal"] as const) {
      const run = (chunkTokens: number) =>
        withEncoder(place, { chunkTokens, ...(order && { order }) }, (encoder) => encoder.encode(mixed()));
      const whole = await run(4096);
      expect(classIndex(whole)).toBe(wantedIndex(place, whole.tokens.length - 1));
      for (const chunkTokens of [1, 17, 64]) {
        const streamed = await run(chunkTokens);
        expect(streamed.tokens).toEqual(whole.tokens);
        expect(relativeRms(streamed.data, whole.data)).toBeLessThan(1e-5);
      }
    }
  });

  it("is as many tokens as an estimate says, before and after", async () => {
    const wav = at("sound.wav");
    const sound = Buffer.alloc(44 + 2 * 16000 * 5);
    sound.write("RIFF", 0);
    sound.writeUInt32LE(sound.length - 8, 4);
    sound.write("WAVEfmt ", 8);
    for (const [value, offset] of [
      [16, 16],
      [16000, 24],
      [32000, 28],
      [sound.length - 44, 40],
    ] as const)
      sound.writeUInt32LE(value, offset);
    for (const [value, offset] of [
      [1, 20],
      [1, 22],
      [2, 32],
      [16, 34],
    ] as const)
      sound.writeUInt16LE(value, offset);
    sound.write("data", 36);
    writeFileSync(wav, sound);
    const sources = [text("words"), audio(wav)];
    for (const place of ["none", ...places] as const) {
      const told = await estimate({ ...tiny, config: configOf(place) }, sources, { chunkTokens: 16 });
      expect(told).toMatchObject({ exact: true, byModality: { class: place === "none" ? 0 : 1 } });
      const features = await withEncoder(place, { chunkTokens: 16 }, (encoder) => encoder.encode(sources));
      expect(features.tokens).toHaveLength(told.tokens);
    }
    // Where all is read a second time to be counted, a second decoder is.
    const decoder = async (place: Place, chunkTokens: number) =>
      (await estimate({ ...tiny, config: configOf(place) }, mixed(), { chunkTokens })).memory.decoder;
    expect(await decoder("middle", 16)).toBe(2 * (await decoder("last", 16)));
    expect(await decoder("middle", 4096)).toBe(await decoder("last", 4096));
  });

  it("in the middle needs the number of tokens: a stream tells it by its end alone", async () => {
    const wav = () => Readable.from([readFileSync(clip)]);
    const encode = (place: Place, source: Source, loading: Loading) =>
      withEncoder(place, loading, (encoder) => encoder.encode([source]));
    const file = await encode("middle", audio(clip), { chunkTokens: 512 });
    expect(await encode("middle", audio(wav()), { chunkTokens: 512 })).toEqual(file);
    const refused = encode("middle", audio(wav()), { chunkTokens: 20 });
    await expect(refused).rejects.toMatchObject({
      kind: "usage",
      code: "LENGTH_UNKNOWN",
      message: expect.stringContaining("of unknown length"),
      hint: expect.stringMatching(/file.*chunkTokens.*"last"/),
    });
    for (const place of ["first", "last"] as const)
      expect((await encode(place, audio(wav()), { chunkTokens: 20 })).tokens).toHaveLength(file.tokens.length);
    // A text stream is kept anyway, and so is counted.
    const words = await encode("middle", text(Readable.from(["x".repeat(99)])), { chunkTokens: 20 });
    expect(classIndex(words)).toBe(49);
  });

  it("in the middle lets nothing be looked at twice, and tells that it counts", async () => {
    const frames: number[] = [];
    const stages: string[] = [];
    await withEncoder("middle", { chunkTokens: 20 }, (encoder) =>
      encoder.encode(mixed(), {
        taps: { video: ({ start }) => void frames.push(start) },
        onProgress: ({ stage }) => void stages.push(stage),
      }),
    );
    expect(frames).toHaveLength(25);
    expect(new Set(frames).size).toBe(25);
    expect(new Set(stages)).toEqual(new Set(["encode", "count"]));
    expect(stages.lastIndexOf("count")).toBeLessThan(stages.length - 5);
  });

  it("whose stack looks ahead sees all of a sequence that fits into one run", async () => {
    for (const place of places) {
      await withEncoder(place, { chunkTokens: 40, layout: "M2 M2r" }, async (encoder) => {
        const words = (n: number) => [text("x".repeat(n))];
        const features = await encoder.encode(words(39));
        expect(classIndex(features)).toBe(wantedIndex(place, 39));
        const index = classIndex(features);
        for (const changed of [`y${"x".repeat(38)}`, `${"x".repeat(38)}y`]) {
          const other = await encoder.encode([text(changed)]);
          expect(rowOf(other, index)).not.toEqual(rowOf(features, index));
        }
        const { data, tokens } = await encoder.encode(words(39), { pool: "class" });
        expect([data, tokens]).toEqual([rowOf(features, index), [features.tokens[index]]]);
        for (const n of [40, 41, 100])
          await expect(encoder.encode(words(n))).rejects.toMatchObject({ code: "NOT_CAUSAL" });
        await expect(encoder.encode([audio(clip), video(clip)])).rejects.toMatchObject({ code: "NOT_CAUSAL" });
      });
    }
  });

  it("stands before all calls of a session, and is refused one in the middle or last", async () => {
    await withEncoder("first", { chunkTokens: 16 }, async (encoder) => {
      const whole = await encoder.encode([text("Some words, and some more.")]);
      const session = await encoder.open();
      const progress: (number | undefined)[] = [];
      const empty = await encoder.encode([text("")], { session });
      const head = await encoder.encode([text("Some words,")], { session });
      const onProgress = ({ totalTokens }: { totalTokens?: number }) => void progress.push(totalTokens);
      const tail = await encoder.encode([text(" and some more.")], { session, onProgress });
      session.close();
      expect(empty.tokens).toEqual([]);
      expect([classIndex(head), classIndex(tail)]).toEqual([0, -1]);
      expect(relativeRms(Float32Array.of(...head.data, ...tail.data), whole.data)).toBeLessThan(1e-5);
      expect(new Set(progress)).toEqual(new Set([15]));
    });
    for (const place of ["middle", "last"] as const) {
      const refusal = { kind: "usage", code: "CLASS_TOKEN_SESSION" };
      await withEncoder(place, {}, (encoder) => expect(encoder.open()).rejects.toMatchObject(refusal));
    }
  });

  it("is a row of its own in every pool, and parts none", async () => {
    const encode = (place: Place, pool: Pool | undefined, chunkTokens = 4096) =>
      withEncoder(place, { chunkTokens }, (encoder) => encoder.encode(mixed(), { pool }));
    const plains: [Pool, Features][] = [];
    for (const pool of ["frame", 1.5] as const) plains.push([pool, await encode("none", pool)]);
    for (const place of places) {
      const tokens = await encode(place, undefined);
      const index = classIndex(tokens);
      for (const [pool, plain] of plains) {
        const whole = await encode(place, pool);
        const own = classIndex(whole);
        expect(rowOf(whole, own)).toEqual(rowOf(tokens, index));
        expect(whole.tokens.toSpliced(own, 1)).toEqual(plain.tokens);
        const streamed = await encode(place, pool, 19);
        expect(streamed.tokens).toEqual(whole.tokens);
        expect(relativeRms(streamed.data, whole.data)).toBeLessThan(1e-5);
      }
      if (place === "first") continue;
      for (const chunkTokens of [4096, 23]) {
        const pooled = await encode(place, "class", chunkTokens);
        expect(pooled.tokens).toEqual([tokens.tokens[index]]);
        expect(relativeRms(pooled.data, rowOf(tokens, index))).toBeLessThan(1e-5);
      }
    }
    for (const place of ["none", "first"] as const)
      await expect(encode(place, "class")).rejects.toMatchObject({ kind: "usage", code: "POOL_CLASS" });
  });

  it("is in the middle of a tubelet's patches where the middle is, and their mean stays one", async () => {
    const silent = [video(clip, { fps: 5, end: 2 })];
    const encode = (pool?: Pool) => withEncoder("middle", { chunkTokens: 3 }, (e) => e.encode(silent, { pool }));
    const tokens = await encode();
    const index = classIndex(tokens);
    const [before, after] = [tokens.tokens[index - 1]!, tokens.tokens[index + 1]!];
    expect([before.start, before.modality]).toEqual([after.start, after.modality]);
    const frames = await encode("frame");
    const first = tokens.tokens.findIndex(({ start }) => start === before.start);
    const patches = [0, 1, 2, 3, 4].map((i) => first + i).filter((i) => i !== index);
    const mean = Float32Array.from({ length: width }, (_, d) =>
      patches.reduce((sum, i) => sum + rowOf(tokens, i)[d]! / 4, 0),
    );
    expect(relativeRms(rowOf(frames, classIndex(frames) - 1), mean)).toBeLessThan(1e-6);
  });

  it("is saved with the weights, and told of by config and inspection", async () => {
    const folder = at("model");
    const config = parseEncoderConfig(configOf("last"));
    await saveCheckpoint(folder, config, seededWeights(tiny.seed));
    expect(await inspectEncoder(folder)).toMatchObject({ classToken: "last" });
    const run = async (model: Parameters<typeof loadEncoder>[0]) => {
      const encoder = await loadEncoder(model, { device: "cpu" });
      try {
        return await encoder.encode([text("words")]);
      } finally {
        await encoder.close();
      }
    };
    expect(await run(folder)).toEqual(await run({ ...tiny, config: configOf("last") }));
    const path = join(folder, "config.json");
    writeFileSync(path, JSON.stringify({ ...config, sequence: { ...config.sequence, classToken: "none" } }));
    await expect(run(folder)).rejects.toMatchObject({ code: "TENSOR_UNEXPECTED", message: /class\.weight/ });
    await saveCheckpoint(folder, parseEncoderConfig(configOf("none")), seededWeights(tiny.seed));
    writeFileSync(path, JSON.stringify(config));
    await expect(run(folder)).rejects.toMatchObject({ code: "TENSOR_MISSING", message: /class\.weight/ });
    await expect(withEncoder("centre" as Place, {}, run as never)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
