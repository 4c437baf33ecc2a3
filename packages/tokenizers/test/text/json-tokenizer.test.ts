import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTextTokenizer } from "../../src/text/index.js";
import { families, fixture, random, randomText, readFixture } from "./helpers.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "krait-text-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let files = 0;
async function create(json: unknown, limits = {}) {
  const file = join(folder, `${files++}.json`);
  await writeFile(file, typeof json === "string" || Buffer.isBuffer(json) ? json : JSON.stringify(json));
  return createTextTokenizer({ file, limits });
}

/** A tokenizer whose tokens are these, in order, by greedy pairs of neighbours. */
const bpe = (tokens: string[], parts: object = {}, model: object = {}, merges: [string, string][] = []) => ({
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: {
    type: "BPE",
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
    unk_token: null,
    ...model,
  },
  ...parts,
});

describe("decoding a stream", () => {
  it.each(families)("gives decode()'s text for random ids of %s, in random portions", async (family) => {
    const tokenizer = await createTextTokenizer({ file: fixture(`${family}.tokenizer.json`) });
    const rng = random(9);
    for (let round = 0; round < 200; round++) {
      const ids = Array.from({ length: 40 }, () => Math.floor(rng() * tokenizer.vocabularySize));
      for (const specialTokens of [false, true]) {
        const decoder = tokenizer.decoder({ specialTokens });
        let text = "";
        for (let at = 0; at < ids.length; ) {
          const n = Math.floor(rng() * 4);
          text += decoder.push(ids.slice(at, at + n));
          at += n;
        }
        expect(text + decoder.end()).toBe(tokenizer.decode(ids, { specialTokens }));
      }
    }
  });

  it("holds an unfinished character back and shows it broken at the end", async () => {
    const tokenizer = await createTextTokenizer({ file: fixture("bytelevel_gpt2.tokenizer.json") });
    const ids = tokenizer.encode("ع"); // two bytes, two ids
    expect(ids).toHaveLength(2);
    const decoder = tokenizer.decoder();
    expect([decoder.push(ids[0]!), decoder.end(), decoder.push(ids)]).toEqual(["", "\ufffd", "ع"]);
  });

  it("keeps its window short in an endless run of broken characters", async () => {
    const tokenizer = await createTextTokenizer({ file: fixture("bytelevel_gpt2.tokenizer.json") });
    const half = tokenizer.encode("ع")[0]!;
    const decoder = tokenizer.decoder();
    let text = "";
    for (let i = 0; i < 3000; i++) text += decoder.push(half);
    expect(text + decoder.end()).toBe("\ufffd".repeat(3000));
  });

  it("leaves special tokens out unless asked", async () => {
    const tokenizer = await createTextTokenizer({ file: fixture("bytelevel_gpt2.tokenizer.json") });
    const ids = tokenizer.encode("a <|video|> b");
    expect(tokenizer.decode(ids)).toBe("a  b");
    expect(tokenizer.decode(ids, { specialTokens: true })).toBe("a <|video|> b");
  });
});

describe("templates", () => {
  const post_processor = {
    type: "TemplateProcessing",
    single: [
      { SpecialToken: { id: "<s>", type_id: 0 } },
      { Sequence: { id: "A", type_id: 0 } },
      { SpecialToken: { id: "</s>", type_id: 0 } },
    ],
    pair: [],
    special_tokens: {},
  };

  it("are put once around a text, however long, and left out on request", async () => {
    const tokenizer = await create({ ...readFixture("bytelevel_gpt2.tokenizer.json"), post_processor });
    const plain = await createTextTokenizer({ file: fixture("bytelevel_gpt2.tokenizer.json") });
    for (const text of ["", "Hello world", randomText(random(2), 20_000)]) {
      const ids = [...plain.encode(text)];
      expect([...tokenizer.encode(text)]).toEqual([1, ...ids, 2]);
      expect([...tokenizer.encode(text, { specialTokens: false })]).toEqual(ids);
    }
  });

  it("of unknown tokens or without a text are refused", async () => {
    const broken = (single: object[]) =>
      create({ ...readFixture("bytelevel_gpt2.tokenizer.json"), post_processor: { ...post_processor, single } });
    await expect(
      broken([{ SpecialToken: { id: "<no>", type_id: 0 } }, post_processor.single[1]!]),
    ).rejects.toMatchObject({
      code: "TOKENIZER_INVALID",
    });
    await expect(broken([post_processor.single[0]!])).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
  });
});

describe("what the library gets wrong", () => {
  const metaspace = (more: object = {}) => ({ type: "Metaspace", replacement: "▁", prepend_scheme: "always", ...more });

  it("Metaspace splits before every mark, unless told not to", async () => {
    // The merge reaches over the space, so only a tokenizer that does not split can use it.
    const tokens = ["a", "b", "▁", "a▁"];
    const split = await create(bpe(tokens, { pre_tokenizer: metaspace() }, {}, [["a", "▁"]]));
    const joined = await create(bpe(tokens, { pre_tokenizer: metaspace({ split: false }) }, {}, [["a", "▁"]]));
    const nested = { type: "Sequence", pretokenizers: [metaspace()] };
    expect([...split.encode("a b")]).toEqual([2, 0, 2, 1]);
    expect([...joined.encode("a b")]).toEqual([2, 3, 1]);
    expect([...(await create(bpe(tokens, { pre_tokenizer: nested }, {}, [["a", "▁"]]))).encode("a  b")]).toEqual([
      2, 0, 2, 2, 1,
    ]);
  });

  it("Metaspace drops all marks of the first token, or none when it prepends none", async () => {
    const tokens = ["▁▁a", "▁b"];
    const decode = async (decoder: object) => (await create(bpe(tokens, { decoder }))).decode([0, 1]);
    expect(await decode(metaspace())).toBe("a b");
    expect(await decode(metaspace({ prepend_scheme: "never" }))).toBe("  a b");
    expect(await decode({ type: "Metaspace", replacement: "▁", add_prefix_space: false })).toBe("  a b");
    const old = { type: "Metaspace", replacement: "▁", add_prefix_space: false };
    expect([...(await create(bpe(["▁", "a"], { pre_tokenizer: old }))).encode("a a")]).toEqual([1, 0, 1]);
  });

  it("byte tokens keep a byte order mark", async () => {
    const tokens = ["<0xEF>", "<0xBB>", "<0xBF>", "a"];
    const parts = { decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] } };
    const tokenizer = await create(bpe(tokens, parts, { byte_fallback: true }));
    expect(tokenizer.decode([0, 1, 2, 3])).toBe("\ufeffa");
  });

  it("byte-level tokens outside the alphabet are text, not NUL", async () => {
    const tokens = ["Ġa", "日 本"];
    const decoder = { type: "Sequence", decoders: [{ type: "ByteLevel" }] };
    const added_tokens = [{ id: 1, content: "日 本", special: false }];
    expect((await create(bpe(tokens, { decoder }))).decode([0, 1])).toBe(" a日 本");
    expect((await create(bpe(tokens, { decoder: { type: "ByteLevel" }, added_tokens }))).decode([1, 0])).toBe(
      "日 本 a",
    );
  });
});

describe("long texts", () => {
  it("without a pre-tokenizer are cut before words, with or without a prepended mark", async () => {
    const tokens = ["<unk>", "▁", "a", "b", "c", "ab", "▁ab", "▁▁", "▁▁▁▁"];
    const merges: [string, string][] = [
      ["a", "b"],
      ["▁", "ab"],
      ["▁", "▁"],
      ["▁▁", "▁▁"],
    ];
    const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
    const prepend = { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace] };
    const rng = random(6);
    let text = "";
    while (text.length < 150_000) text += "abc x".charAt(Math.floor(rng() * 5)).repeat(1 + Math.floor(rng() * 2));
    for (const normalizer of [prepend, replace]) {
      const json = bpe(tokens, { normalizer }, { unk_token: "<unk>" }, merges);
      const whole = new Tokenizer(json, {}).encode(text).ids;
      expect([...(await create(json)).encode(text)]).toEqual(whole);
    }
    // A token that reaches over a word's begin could stand at any cut.
    const across = bpe([...tokens, "a▁", "b▁"], { normalizer: replace }, { unk_token: "<unk>" }, [
      ["a", "▁"],
      ...merges,
    ]);
    expect((await create(across)).encode(text.slice(0, 60_000)).length).toBeGreaterThan(0);
    const long = await create(across);
    expect(() => long.encode(text)).toThrow(expect.objectContaining({ code: "TEXT_UNBREAKABLE" }));
  });

  it("whose pre-tokenizer leaves them one word are not cut inside it, though the ids around a space would agree", async () => {
    const pre_tokenizer = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
    const tokenizer = await create(bpe(["Ġ", "a", "b"], { pre_tokenizer }));
    expect(tokenizer.encode("a b ".repeat(10_000))).toHaveLength(40_000);
    expect(() => tokenizer.encode("a b ".repeat(20_000))).toThrow(
      expect.objectContaining({ code: "TEXT_UNBREAKABLE" }),
    );
  });

  it.each(families)("without a place to cut are refused by %s, not waited for", async (family) => {
    const tokenizer = await createTextTokenizer({ file: fixture(`${family}.tokenizer.json`) });
    const text = "x".repeat(100_000_000);
    expect(() => tokenizer.encode(text)).toThrow(expect.objectContaining({ kind: "input", code: "TEXT_UNBREAKABLE" }));
    expect(tokenizer.encode("x".repeat(65_536)).length).toBeGreaterThan(60_000);
    // A stretch in the middle is found too.
    expect(() => tokenizer.encode(`a b ${text.slice(0, 200_000)} c`)).toThrow(
      expect.objectContaining({ code: "TEXT_UNBREAKABLE" }),
    );
  });

  it("above the limit are refused, and streams stop on a signal", async () => {
    const json = readFixture("bytelevel_gpt2.tokenizer.json");
    const small = await create(json, { maxTextBytes: 10 });
    expect(small.encode("0123456789").length).toBeGreaterThan(0);
    expect(() => small.encode("012345678é")).toThrow(expect.objectContaining({ code: "TEXT_TOO_LONG" }));
    const tokenizer = await create(json);
    const controller = new AbortController();
    const parts = tokenizer
      .encodeStream(randomText(random(1), 50_000), { signal: controller.signal })
      [Symbol.asyncIterator]();
    await parts.next();
    controller.abort();
    await expect(parts.next()).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("with lone surrogates are read as if they were U+FFFD", async () => {
    const tokenizer = await createTextTokenizer({ file: fixture("bytelevel_gpt2.tokenizer.json") });
    expect(tokenizer.encode("a\ud83d b")).toEqual(tokenizer.encode("a\ufffd b"));
  });
});

describe("files that are no tokenizer", () => {
  const good = bpe(["a", "b"]);
  const bad: [string, unknown][] = [
    ["no JSON", "{"],
    ["no UTF-8", Buffer.from([0x7b, 0xff])],
    ["a list", []],
    ["no model", { ...good, model: undefined }],
    ["a model of another type", { ...good, model: { ...good.model, type: "WordLevel" } }],
    ["a vocabulary that is a list", { ...good, model: { ...good.model, vocab: ["a"] } }],
    ["an empty vocabulary", { ...good, model: { ...good.model, vocab: {} } }],
    ["a negative id", { ...good, model: { ...good.model, vocab: { a: -1 } } }],
    ["an id of a billion", { ...good, model: { ...good.model, vocab: { a: 1e9 } } }],
    ["two tokens of one id", { ...good, model: { ...good.model, vocab: { a: 0, b: 0 } } }],
    ["merges that are none", { ...good, model: { ...good.model, merges: ["ab"] } }],
    ["merges of numbers", { ...good, model: { ...good.model, merges: [[1, 2]] } }],
    ["no merges", { ...good, model: { ...good.model, merges: undefined } }],
    ["an added token without text", { ...good, added_tokens: [{ id: 5, content: "" }] }],
    ["an added token of a wild id", { ...good, added_tokens: [{ id: 2 ** 40, content: "x" }] }],
    ["a pre-tokenizer nobody knows", { ...good, pre_tokenizer: { type: "Magic" } }],
    ["a decoder that is a number", { ...good, decoder: 5 }],
    [
      "a pattern that is no expression",
      { ...good, pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
    ],
    ["unigram pairs that are none", { ...good, model: { type: "Unigram", unk_id: 0, vocab: [["a", "b"]] } }],
  ];
  it.each(bad)("%s", async (_, json) => {
    await expect(create(json)).rejects.toMatchObject({ kind: "input", code: "TOKENIZER_INVALID" });
  });

  it("a folder, a missing file, wrong options", async () => {
    await expect(createTextTokenizer({ file: folder })).rejects.toMatchObject({ code: "NOT_A_FILE" });
    await expect(createTextTokenizer({ file: join(folder, "no.json") })).rejects.toMatchObject({
      code: "FILE_NOT_FOUND",
    });
    await expect(createTextTokenizer({} as never)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(createTextTokenizer({ kind: "words" } as never)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  it("but a vocabulary may hold the token __proto__, gaps, and no token for a character", async () => {
    const text = '{"model":{"type":"BPE","vocab":{"__proto__":0,"a":1,"c":4},"merges":[]}}';
    const tokenizer = await create(text);
    expect(tokenizer.vocabularySize).toBe(5);
    expect(tokenizer.decode([0, 1])).toBe("__proto__ a");
    expect([...tokenizer.encode("abc")]).toEqual([1, 4]);
    expect(() => tokenizer.decode([2])).toThrow(expect.objectContaining({ code: "TOKEN_ID_UNKNOWN" }));
    expect(() => tokenizer.decode([5])).toThrow(expect.objectContaining({ code: "TOKEN_ID_UNKNOWN" }));
  });
});
