import { describe, expect, it } from "vitest";
import { decodeUtf8, invalidUtf8Offset, parseStrictJson } from "../src/index.js";
import { random } from "./helpers.js";

describe("parseStrictJson", () => {
  const code = (text: string | Uint8Array, options = {}) => {
    try {
      parseStrictJson(text, "it", options);
      return "OK";
    } catch (error) {
      return (error as { code: string }).code;
    }
  };

  it("is JSON.parse for honest documents", () => {
    const text =
      '{"a":{"k":1},"b":{"k":[{"k":"a"},{"k":"}{,\\"a\\":"}]},"\\\\":"\\\\\\"","__proto":0,"constructor":null}';
    expect(parseStrictJson(text, "it")).toEqual(JSON.parse(text));
    expect(parseStrictJson(Buffer.from("[1]"), "it")).toEqual([1]);
  });

  it("reads Python's bare numbers where they are asked for, and leaves the same words in strings", () => {
    const text = '{"limit": [0.0, Infinity, -Infinity], "NaN": "say \\"Infinity\\" NaN", "x": NaN}';
    expect(parseStrictJson(text, "it", { pythonNumbers: true })).toEqual({
      limit: [0, { __float__: "Infinity" }, { __float__: "-Infinity" }],
      NaN: 'say "Infinity" NaN',
      x: { __float__: "NaN" },
    });
    expect(code(text)).toBe("JSON_SYNTAX");
    for (const broken of ['{"a": Infinit', '{"a": "NaN', "Infinity]", '"\\']) {
      expect(code(broken, { pythonNumbers: true })).toBe("JSON_SYNTAX");
    }
  });

  it("refuses what readers disagree on, and what is too large", () => {
    expect(code('{"a":1,"a":1}')).toBe("JSON_DUPLICATE_KEY");
    expect(code('{"x":[{"a":1,"b":[{}],"\\u0061":1}]}')).toBe("JSON_DUPLICATE_KEY");
    expect(code('{"a":"a","b":"a"}')).toBe("OK");
    expect(code('["__proto__",{"a":"__proto__"}]')).toBe("OK");
    expect(code('[{"__proto__":1}]')).toBe("JSON_FORBIDDEN_KEY");
    expect(code("[[[]]]", { maxDepth: 3 })).toBe("OK");
    expect(code("[[[]]]", { maxDepth: 2 })).toBe("JSON_TOO_DEEP");
    expect(code("[1]", { maxBytes: 2 })).toBe("JSON_TOO_LARGE");
    expect(code(Uint8Array.of(0x22, 0xff, 0x22))).toBe("JSON_NOT_UTF8");
    expect(code("\ufeff[]")).toBe("JSON_SYNTAX");
    expect(code("")).toBe("JSON_SYNTAX");
  });
});

describe("decodeUtf8", () => {
  it("finds the same bytes to be UTF-8 as the platform, and names the first bad one", () => {
    const rng = random(11);
    const fatal = new TextDecoder("utf-8", { fatal: true });
    const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
    const text = "aé日👩\u0000\ufeff߿ࠀ\ud7ff\ue000￿𐀀\u{10ffff}";
    for (let round = 0; round < 20_000; round++) {
      const bytes = new TextEncoder().encode(text);
      for (let n = Math.floor(rng() * 3); n > 0; n--) bytes[Math.floor(rng() * bytes.length)] = Math.floor(rng() * 256);
      let valid = true;
      try {
        fatal.decode(bytes);
      } catch {
        valid = false;
      }
      const offset = invalidUtf8Offset(bytes);
      expect(offset === -1).toBe(valid);
      if (!valid) {
        // All before the offset is well-formed, and no more than that.
        fatal.decode(bytes.subarray(0, offset));
        expect(lossy.decode(bytes.subarray(offset)).startsWith("\ufffd")).toBe(true);
      }
    }
  });

  it("says where it broke", () => {
    expect(() => decodeUtf8(Uint8Array.of(0x61, 0x62, 0xc3), "notes.txt", "TEXT")).toThrow(/notes\.txt.*offset 2/);
    expect(decodeUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61), "it", "TEXT")).toBe("\ufeffa");
  });
});
