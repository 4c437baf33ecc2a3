import { cp, mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Generation, Projector, type PromptPart, seededWeights } from "@krait/nn";
import { openDevice } from "@krait/runtime";
import { audio, type Encoder, type LanguageModel, loadEncoder, loadLanguageModel, text, textFile, video } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, tiny } from "./fixtures.js";

const at = folderOfTests();
const fixture = fileURLToPath(new URL("../packages/nn/test/fixtures/models/bamba_sharded", import.meta.url));
const options = { maxTokens: 8, endTokens: [], temperature: 1, seed: 2 };

/** One id per byte below 128. */
function asciiTokenizer(): unknown {
  const shown = (byte: number) =>
    String.fromCodePoint(byte > 32 && byte < 127 ? byte : byte === 127 ? 289 : 256 + byte);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab: Object.fromEntries(Array.from({ length: 128 }, (_, b) => [shown(b), b])), merges: [] },
  };
}

describe.skipIf(!built)("a prompt of media and text", () => {
  let encoder: Encoder;
  let model: LanguageModel;
  let clip: string;
  const projector = { seed: 9, hidden: 48 };
  const loading = { device: "cpu", slots: 2, contextTokens: 512, chunkTokens: 16 } as const;
  beforeAll(async () => {
    clip = makeClip(at("clip.mkv"), { seconds: 3 });
    await mkdir(at("model"));
    await cp(fixture, at("model"), { recursive: true });
    await writeFile(at("model/tokenizer.json"), JSON.stringify(asciiTokenizer()));
    await writeFile(at("question.txt"), "What is it?");
    encoder = await loadEncoder(tiny, { device: "cpu" });
    model = await loadLanguageModel(at("model"), { ...loading, media: { encoder, projector, pool: "frame" } });
  });
  afterAll(async () => {
    await model?.close();
    await encoder?.close();
  });

  async function tokens(generation: AsyncIterable<{ sequence: number; token?: number }>): Promise<number[][]> {
    const all: number[][] = [];
    for await (const { sequence, token } of generation) {
      all[sequence] ??= [];
      if (token !== undefined) all[sequence].push(token);
    }
    return all;
  }

  it("is what its features, projected, and its texts' ids are in the order they were given", async () => {
    const media = [video(clip), audio(clip)];
    const { data, tokens: rows } = await encoder.encode(media, { pool: "frame" });
    expect(rows.length).toBeGreaterThan(loading.chunkTokens); // fed in chunks
    const device = await openDevice({ device: "cpu" });
    const { width } = model.model.description;
    const project = await Projector.create(device, { input: encoder.dim, width, hidden: 48 }, seededWeights(9));
    const soft = await project.project(data);
    project.close();
    await device.close();
    const ids = (words: string) => [...Buffer.from(words)];
    const parts: PromptPart[] = [ids("See: "), { soft }, ids("What is it?")];
    const byHand = await tokens(Generation.start(model.model, [parts], options));
    const prompt = [text("See: "), ...media, textFile(at("question.txt"))];
    expect(await tokens(model.generate(prompt, options))).toEqual(byHand);
    // Beside a text, and another order is another prompt.
    const [first, second] = await tokens(model.generate([prompt, "Hello"], options));
    expect(first).toEqual(byHand[0]);
    expect([second]).toEqual(await tokens(model.generate("Hello", { ...options, seed: 3 })));
    expect(await tokens(model.generate([text("See: "), text("What is it?"), ...media], options))).not.toEqual(byHand);
  });

  it("fails as its media do, and when the model has no encoder or another projector", async () => {
    const missing = tokens(model.generate([video(at("none.mp4")), text("x")], options));
    await expect(missing).rejects.toMatchObject({ code: "SOURCE_NOT_FOUND" });
    const plain = await loadLanguageModel(at("model"), loading);
    const refused = tokens(plain.generate([video(clip)], options));
    await expect(refused).rejects.toMatchObject({ code: "INVALID_OPTION", hint: expect.stringContaining("media") });
    // Texts alone need none.
    expect(await tokens(plain.generate([text("Hello")], options))).toEqual(
      await tokens(plain.generate("Hello", options)),
    );
    await plain.close();
    const abort = new AbortController();
    const aborted = tokens(model.generate([video(clip)], { ...options, signal: abort.signal }));
    abort.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("gives its slots back when it is closed before it has begun", async () => {
    const generation = model.generate([video(clip), text("x")], options);
    generation.close();
    expect(await tokens(generation)).toEqual([]);
    const sessions = [await model.model.open(), await model.model.open()];
    for (const session of sessions) session.close();
  });
});
