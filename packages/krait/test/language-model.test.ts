import { cp, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LanguageModel, loadLanguageModel } from "../src/index.js";
import { StopStrings } from "../src/models/stop-strings.js";

const fixture = fileURLToPath(new URL("../../nn/test/fixtures/models/bamba_sharded", import.meta.url));

/** One id per ASCII character and no merges: enough of a tokenizer for a vocabulary of 160. */
function asciiTokenizer(): unknown {
  const shown = (byte: number) =>
    String.fromCodePoint(byte > 32 && byte < 127 ? byte : byte === 127 ? 256 + 33 : 256 + byte);
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

let folder: string;
let model: LanguageModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-language-model-"));
  await cp(fixture, folder, { recursive: true });
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(asciiTokenizer()));
  model = await loadLanguageModel(folder, { device: "cpu", slots: 3, contextTokens: 256 });
});
afterAll(async () => {
  await model.close();
  await rm(folder, { recursive: true, force: true });
});

type Options = Parameters<LanguageModel["generate"]>[1];
async function text(
  prompt: string | number[],
  options: Options,
): Promise<{ text: string; finish: string | undefined }> {
  let [all, finish] = ["", undefined as string | undefined];
  for await (const piece of model.generate([prompt], options)) {
    all += piece.text;
    finish ??= piece.finish;
  }
  return { text: all, finish };
}

const drawn = { temperature: 1, seed: 4, maxTokens: 40, endTokens: [] };

describe("a language model", () => {
  test("continues texts; a prompt as ids is the same prompt", async () => {
    const first = await text("Hello", drawn);
    expect(first.finish).toBe("length");
    expect(first.text.length).toBeGreaterThan(10);
    expect(await text([...Buffer.from("Hello")], drawn)).toEqual(first);
  });

  test("several prompts side by side are each what they are alone", async () => {
    const prompts = ["a", "Some words", "x y z", "last"];
    const texts = prompts.map(() => "");
    for await (const { sequence, text } of model.generate(prompts, drawn)) texts[sequence] += text;
    for (const [i, prompt] of prompts.entries())
      expect((await text(prompt, { ...drawn, seed: 4 + i })).text).toBe(texts[i]);
  });

  test("a stop string ends the text before it, wherever tokens cut it", async () => {
    const whole = (await text("Hello", drawn)).text;
    for (const [from, to] of [
      [3, 4],
      [5, 9],
      [0, 2],
    ] as const) {
      const stop = whole.slice(from, to);
      const stopped = await text("Hello", { ...drawn, stop: ["never there", stop] });
      expect(stopped).toEqual({ text: whole.slice(0, whole.indexOf(stop)), finish: "stop" });
    }
    // What only might have become a stop string is not lost.
    expect((await text("Hello", { ...drawn, stop: [`${whole.slice(-3)}~~~`] })).text).toBe(whole);
    expect(() => model.generate("a", { stop: [""] })).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });

  test("goes on from a snapshot to the same text", async () => {
    const whole = (await text("Hello", drawn)).text;
    const generation = model.generate("Hello", drawn);
    let before = "";
    let tokens = 0;
    for await (const piece of generation) {
      before += piece.text;
      if (++tokens < 15) continue;
      const snapshot = structuredClone(await generation.snapshot());
      let after = "";
      for await (const { text } of await model.resume(snapshot)) after += text;
      expect(before + after).toBe(whole);
      break;
    }
    expect(tokens).toBe(15);
  });

  test("stops when it is aborted", async () => {
    const abort = new AbortController();
    let pieces = 0;
    const run = async () => {
      for await (const _ of model.generate("Hello", { ...drawn, maxTokens: 200, signal: abort.signal }))
        if (++pieces === 3) abort.abort();
    };
    await expect(run()).rejects.toMatchObject({ code: "ABORTED" });
    expect((await text("Hello", { ...drawn, maxTokens: 3 })).finish).toBe("length");
  });

  test("fails when the file that it runs in is cut, and goes on when its weights were copied", async () => {
    const own = `${folder}-own`;
    await cp(folder, own, { recursive: true });
    const load = (weights: "mapped" | "copied") => loadLanguageModel(own, { device: "cpu", weights });
    const [mapped, copied] = [await load("mapped"), await load("copied")];
    const first = async (from: LanguageModel) => {
      for await (const piece of from.generate("Hello", { ...drawn, maxTokens: 1 })) return piece.token;
      return undefined;
    };
    const token = await first(copied);
    expect(await first(mapped)).toBe(token);
    await truncate(join(own, "model-00002-of-00005.safetensors"), 100);
    await expect(first(mapped)).rejects.toMatchObject({ code: "FILE_CHANGED" });
    expect(await first(copied)).toBe(token);
    await mapped.close();
    await copied.close();
    await rm(own, { recursive: true });
  });

  test("a tokenizer of another model is refused", async () => {
    await expect(loadLanguageModel(fixture, { tokenizer: "bytes" })).rejects.toMatchObject({
      code: "TOKENIZER_MISMATCH",
    });
    await expect(loadLanguageModel(fixture)).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("stop strings", () => {
  const all = (stops: string[], pieces: string[]) => {
    const through = new StopStrings(stops);
    return { text: pieces.map((p) => through.push(p)).join("") + through.end(), found: through.found };
  };
  test("are found across any cuts, the first of them first", () => {
    const whole = "one, two, three";
    for (let a = 0; a <= whole.length; a++) {
      for (let b = a; b <= whole.length; b++) {
        const pieces = [whole.slice(0, a), whole.slice(a, b), whole.slice(b)];
        expect(all(["three", ", t"], pieces)).toEqual({ text: "one", found: true });
        expect(all(["threes", "tt"], pieces)).toEqual({ text: whole, found: false });
      }
    }
  });
});
