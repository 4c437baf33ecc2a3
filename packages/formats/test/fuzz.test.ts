import { KraitError } from "@krait/core";
import { expect, it } from "vitest";
import { openSafetensors, parseStrictJson } from "../src/index.js";
import { file, random, save, temporaryFolder, tensor } from "./helpers.js";

const at = temporaryFolder();

const seedFile = file(
  {
    __metadata__: { format: "pt" },
    "a.weight": tensor("F32", [2, 3], 0, 24),
    b: tensor("BF16", [], 24, 26),
    c: tensor("U8", [0, 7], 26, 26),
    d: tensor("I64", [1], 26, 34),
  },
  34,
);
const pieces = [
  '{"',
  '"',
  "\\",
  "[",
  "]",
  "{",
  "}",
  ",",
  ":",
  "-",
  "1e9",
  "0",
  "9".repeat(20),
  "__proto__",
  "\xff",
  "F32",
];

/** One to four changes: a bit, a byte, a cut, an insertion of something that means something, a block copied elsewhere. */
function mutate(bytes: Uint8Array, rng: () => number): Uint8Array {
  let out = [...bytes];
  const pick = (n: number) => Math.floor(rng() * n);
  for (let n = 1 + pick(4); n > 0 && out.length > 0; n--) {
    const i = pick(rng() < 0.7 ? Math.min(out.length, 300) : out.length);
    switch (pick(6)) {
      case 0:
        out[i] = out[i]! ^ (1 << pick(8));
        break;
      case 1:
        out[i] = pick(256);
        break;
      case 2:
        out = out.slice(0, i);
        break;
      case 3:
        out.splice(i, pick(9));
        break;
      case 4:
        out.splice(i, pick(3), ...Buffer.from(pieces[pick(pieces.length)]!, "latin1"));
        break;
      default:
        out.splice(pick(out.length), 0, ...out.slice(i, i + pick(40)));
    }
    // Half of the time the length is put right again, so that the change reaches what lies behind it.
    if (rng() < 0.5 && out.length > 8) {
      const end = out.lastIndexOf(0x7d) + 1;
      out.splice(0, 8, ...new Uint8Array(BigUint64Array.of(BigInt(Math.max(0, end - 8))).buffer));
    }
  }
  return Uint8Array.from(out);
}

it("answers 3,000 damaged files with tensors or with a typed error, and nothing else", async () => {
  const rng = random(20_26);
  const codes = new Map<string, number>();
  for (let round = 0; round < 3000; round++) {
    const path = await save(at("fuzz.safetensors"), mutate(seedFile, rng));
    let code = "OK";
    try {
      const opened = await openSafetensors(path);
      try {
        for (const [name, { shape, dtype }] of opened.tensors) {
          if (dtype === undefined) await expect(opened.read(name)).rejects.toMatchObject({ code: "DTYPE_UNSUPPORTED" });
          else expect((await opened.read(name)).length).toBe(shape.reduce((a, b) => a * b, 1));
        }
      } finally {
        await opened.close();
      }
    } catch (error) {
      if (!KraitError.is(error)) throw error;
      expect(error.kind).toBe("input");
      code = error.code;
    }
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  // The changes must reach every layer of the reader, or the test proves little.
  for (const code of [
    "OK",
    "JSON_SYNTAX",
    "JSON_NOT_UTF8",
    "SAFETENSORS_SHAPE",
    "SAFETENSORS_OFFSETS",
    "SAFETENSORS_HEADER_TOO_LONG",
    "SAFETENSORS_TRAILING_BYTES",
  ])
    expect(codes.get(code), code).toBeGreaterThan(0);
});

it("agrees with JSON.parse on what is JSON, but for the documents it must refuse", () => {
  const rng = random(5);
  const seed = Buffer.from('{"a":[1,{"b\\"":null,"c":"}\\\\"},[]],"\\u0064":{"x":-1.5e3},"e":"\\n","":true}');
  for (let round = 0; round < 20_000; round++) {
    const text = Buffer.from(mutate(seed, rng)).toString("latin1");
    let plain: unknown;
    let ok = true;
    try {
      plain = JSON.parse(text);
    } catch {
      ok = false;
    }
    try {
      expect(parseStrictJson(text, "it")).toEqual(plain);
    } catch (error) {
      if (!KraitError.is(error)) throw error;
      if (ok) expect(["JSON_DUPLICATE_KEY", "JSON_FORBIDDEN_KEY"]).toContain(error.code);
    }
  }
});
