import { KraitError } from "@krait/core";
import { describe, expect, test } from "vitest";
import { attention, causalConv1d, concatenate, Graph, kernelOps, rulesHeader, splitHeads } from "../src/index.js";
import { holds, namesIn, ruleToCpp } from "../src/rules.js";

const values: Record<string, number> = { A: 6, B: 4, c: 0, d: 1 };
const check = (rule: string) =>
  holds(
    rule,
    (name) => values[name]!,
    (operand) => operand === "x",
  );

describe("rules", () => {
  test.each([
    ["A == 6", true],
    ["A + B * 2 == 14", true],
    ["(A + B) * 2 == 20", true],
    ["A - B - 1 == 1", true],
    ["A / B == 1 && A % B == 2", true],
    ["A / c == 0 - 1", true],
    ["c || d", true],
    ["!c && !(A < B)", true],
    ["has(x) && !has(y)", true],
    ["has(x) == has(y)", false],
    ["A <= B || A >= 7 || A != 6", false],
    ["d == 0 || c == 0 && A > B", true],
  ])("%s is %s", (rule, truth) => {
    expect(check(rule)).toBe(truth);
  });

  test.each(["A ==", "(A", "A B", "&& A", "A = B", "has(", "A $ B"])("%j cannot be read", (rule) => {
    expect(() => check(rule)).toThrow(expect.objectContaining({ code: "INTERNAL" }));
  });

  test("names are the dimensions and attributes, not the operands", () => {
    expect([...namesIn("has(state) || Tail == W - 1")]).toEqual(["Tail", "W"]);
  });

  test("the C++ says the same", () => {
    const cpp = ruleToCpp(
      "!has(s) || A % 2 == B / 3",
      (n) => `v_${n}`,
      (o) => `o_${o}`,
    );
    expect(cpp.replace(/[()\s]/g, "")).toBe("!static_cast<bool>o_s||remainderv_A,Wide{2}==quotientv_B,Wide{3}");
  });

  test("every op's rules read names that its record has", () => {
    const header = rulesHeader();
    expect(header.match(/inline const char\* broken_rule/g)).toHaveLength(kernelOps.length);
  });
});

describe("calls that break a rule", () => {
  const code = (body: () => unknown) => {
    try {
      body();
      return "nothing was thrown";
    } catch (error) {
      return KraitError.is(error) ? `${error.code}: ${error.message}` : String(error);
    }
  };
  const graph = () => {
    const g = new Graph("g");
    const T = g.symbol("T", 16);
    const S = g.symbol("S", 2);
    return { g, T, S, cuSeqlens: g.cuSeqlens("cuSeqlens", S, T) };
  };

  test("are refused with what was expected and what was there", () => {
    const { g, T, cuSeqlens } = graph();
    const x = g.input("x", "f32", [T, 6]);
    const weight = g.parameter("w", "f32", [6, 4]);
    const state = g.state("tail", "f32", [1, 2, 6]);
    expect(code(() => causalConv1d({ x, weight, cuSeqlens, state }))).toBe(
      "SHAPE_MISMATCH: Expected a state of width - 1 rows for causal_conv1d but received Tail = 2, W = 4",
    );
    expect(code(() => splitHeads({ x }, { heads: 4 }))).toMatch(/heads of equal width/);
    const q = g.input("q", "f32", [T, 3, 8]);
    const k = g.input("k", "f32", [T, 2, 8]);
    expect(code(() => attention({ q, k, v: k, cuSeqlens }, { window: 4 }))).toMatch(/equal groups.*Hk = 2, Hq = 3/);
    const keys = g.state("keys", "f32", [1, 9, 2, 8]);
    const q4 = g.input("q4", "f32", [T, 4, 8]);
    expect(code(() => attention({ q: q4, k, v: k, cuSeqlens, keys }, { window: 4 }))).toMatch(
      /keys and values together/,
    );
  });

  test("two symbols that are equal at capacity only are not the same dimension", () => {
    const { g, T } = graph();
    const U = g.symbol("U", 16);
    const a = g.input("a", "f32", [T, 2]);
    const b = g.input("b", "f32", [U, 3]);
    expect(code(() => concatenate({ a, b }, { axis: 1 }))).toMatch(/equal sizes off the joined axis/);
  });
});
