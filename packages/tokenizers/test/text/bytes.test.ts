import { describe, expect, it } from "vitest";
import { createTextTokenizer } from "../../src/text/index.js";
import { random, randomText } from "./helpers.js";

describe("the bytes tokenizer", async () => {
  const tokenizer = await createTextTokenizer({ kind: "bytes" });

  it("is UTF-8, byte order marks and NUL included", () => {
    expect([...tokenizer.encode("aé\u0000")]).toEqual([0x61, 0xc3, 0xa9, 0]);
    expect([...tokenizer.encode("\ufeffa")]).toEqual([0xef, 0xbb, 0xbf, 0x61]);
    expect(tokenizer.decode([0xef, 0xbb, 0xbf, 0x61])).toBe("\ufeffa");
    expect([...tokenizer.encode("")]).toEqual([]);
    expect(tokenizer.decode([])).toBe("");
    expect([tokenizer.id, tokenizer.vocabularySize]).toEqual(["bytes", 256]);
  });

  it("takes lone surrogates as U+FFFD, and shows bytes that are no UTF-8 as U+FFFD", () => {
    expect([...tokenizer.encode("a\ud800b\udc00")]).toEqual([...tokenizer.encode("a\ufffdb\ufffd")]);
    expect(tokenizer.decode([0x61, 0xff, 0xc3])).toBe("a\ufffd\ufffd");
  });

  it("gives text back, whole or id by id, and never half a character", async () => {
    for (const seed of [1, 2, 3]) {
      const text = randomText(random(seed), 3000);
      const ids = tokenizer.encode(text);
      expect(tokenizer.decode(ids)).toBe(text);
      const decoder = tokenizer.decoder();
      const pieces = Array.from(ids, (id) => decoder.push(id));
      expect(pieces.some((piece) => /\p{Surrogate}|\ufffd/u.test(piece))).toBe(false);
      expect(pieces.join("") + decoder.end()).toBe(text);
    }
    const decoder = tokenizer.decoder();
    expect([decoder.push([0x61, 0xe6, 0x97]), decoder.end(), decoder.push(0x62)]).toEqual(["a", "\ufffd", "b"]);
  });

  it("streams the same bytes, also where a pair of units lies on a piece's end", async () => {
    for (const text of [`${"a".repeat(65_535)}👩${"b".repeat(70_000)}`, randomText(random(4), 200_000), ""]) {
      const parts: number[] = [];
      for await (const part of tokenizer.encodeStream(text)) parts.push(...part);
      expect(Buffer.from(parts).equals(Buffer.from(text))).toBe(true);
    }
  });

  it("bounds the text and refuses ids that are no bytes", async () => {
    const small = await createTextTokenizer({ kind: "bytes", limits: { maxTextBytes: 6 } });
    expect(small.encode("ééé")).toHaveLength(6);
    expect(() => small.encode("éééa")).toThrow(expect.objectContaining({ kind: "input", code: "TEXT_TOO_LONG" }));
    await expect(small.encodeStream("éééa")[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: "TEXT_TOO_LONG",
    });
    for (const id of [256, -1, 1.5, Number.NaN, "a" as unknown as number]) {
      expect(() => tokenizer.decode([id])).toThrow(expect.objectContaining({ code: "TOKEN_ID_UNKNOWN" }));
      expect(() => tokenizer.decoder().push([id])).toThrow(expect.objectContaining({ code: "TOKEN_ID_UNKNOWN" }));
    }
    expect(() => tokenizer.encode(7 as unknown as string)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });

  it("stops on a signal", async () => {
    const controller = new AbortController();
    const parts = tokenizer.encodeStream("a".repeat(500_000), { signal: controller.signal })[Symbol.asyncIterator]();
    await parts.next();
    controller.abort();
    await expect(parts.next()).rejects.toMatchObject({ code: "ABORTED" });
  });
});
