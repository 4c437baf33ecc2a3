import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { createTextTokenizer } from "../../src/text/index.js";
import { families, fixture, golden, random, randomText, readFixture } from "./helpers.js";

describe.each(families)("%s", (family) => {
  const file = fixture(`${family}.tokenizer.json`);

  it.each(golden[family])("has the reference's ids and text for $text", async ({ text, ids, decoded }) => {
    const tokenizer = await createTextTokenizer({ file });
    expect([...tokenizer.encode(text)]).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(decoded);
  });

  it("decodes a stream id by id to the same text, no piece with half a character", async () => {
    const tokenizer = await createTextTokenizer({ file });
    for (const { ids, decoded } of golden[family]) {
      const decoder = tokenizer.decoder();
      const pieces = ids.map((id) => decoder.push(id));
      expect(pieces.some((piece) => /\p{Surrogate}|\ufffd/u.test(piece))).toBe(false);
      expect(pieces.join("") + decoder.end()).toBe(decoded);
      expect(decoder.push(ids) + decoder.end()).toBe(decoded);
    }
  });

  it("cuts a long text so that the ids are those of the whole, in one call or as a stream", async () => {
    const tokenizer = await createTextTokenizer({ file });
    const whole = new Tokenizer(readFixture(`${family}.tokenizer.json`), {});
    for (const seed of [1, 2, 3]) {
      const text = randomText(random(seed), 40_000);
      const ids = tokenizer.encode(text);
      expect([...ids]).toEqual(whole.encode(text, { add_special_tokens: false }).ids);
      const parts: Int32Array[] = [];
      for await (const part of tokenizer.encodeStream(text)) parts.push(part);
      expect(parts.length).toBeGreaterThan(5);
      expect(parts.flatMap((part) => [...part])).toEqual([...ids]);
    }
  });

  it("knows its size and its file", async () => {
    const tokenizer = await createTextTokenizer({ file });
    const json = readFixture(`${family}.tokenizer.json`);
    expect(tokenizer.vocabularySize).toBe(Math.max(...(Object.values(json.model.vocab) as number[])) + 1);
    expect(tokenizer.id).toMatch(/^sha256:[0-9a-f]{64}$/);
  });
});
