import { describe, expect, it } from "vitest";
import { parseTokenize } from "../src/commands/tokenize.js";

const words = (line: string) => line.split(" ").filter((word) => word !== "");

describe("the words after krait tokenize", () => {
  it("become options, and what was not given stays out", () => {
    const { json, job } = parseTokenize(
      words("a.mp4 --preset clip --out f.safetensors --size 64 --fps 2.5 --end 1:30"),
    );
    expect(json).toBe(false);
    expect(job).toMatchObject({ file: "a.mp4", out: "f.safetensors", quiet: false });
    const given = Object.fromEntries(Object.entries(job!.given).filter(([, value]) => value !== undefined));
    expect(given).toEqual({ preset: "clip", out: "f.safetensors", size: 64, fps: 2.5, end: 90 });
  });

  it("may ask for fewer frames and another stream", () => {
    const given = (line: string) => parseTokenize(words(`a --preset clip --out f ${line}`)).job!.given;
    expect(given("--economy merge --budget 0.5 --stream 2")).toMatchObject({
      economy: { mode: "merge", budget: 0.5 },
      stream: 2,
    });
    expect(given("--budget 2").economy).toEqual({ budget: 2 });
    expect(given("").economy).toBeUndefined();
  });

  it("may ask for the list alone", () => {
    expect(parseTokenize(["--list", "--json"])).toEqual({ json: true, job: undefined });
  });

  it.each([
    ["", "OPERANDS"],
    ["a b --preset clip --out f", "OPERANDS"],
    ["a --list", "OPERANDS"],
    ["a --out f", "PRESET_MISSING"],
    ["a --preset clip", "OUT_MISSING"],
    ["a --preset clip --out f --size 0", "INVALID_OPTION"],
    ["a --preset clip --out f --size 1.5", "INVALID_OPTION"],
    ["a --preset clip --out f --normalization loud", "INVALID_OPTION"],
    ["a --preset clip --out f --economy blend", "INVALID_OPTION"],
    ["a --preset clip --out f --budget 0", "INVALID_OPTION"],
    ["a --preset clip --out f --stream x", "INVALID_OPTION"],
    ["a --preset clip --out f --fps 2 --frames 3", "OPTIONS_EXCLUDE"],
    ["a --preset clip --out f --size 8 --processor p.json", "OPTIONS_EXCLUDE"],
    ["a --preset clip --out f --page x", "UNKNOWN_OPTION"],
  ])("are refused when they make no sense: %s", (line, code) => {
    expect(() => parseTokenize(words(line))).toThrow(expect.objectContaining({ kind: "usage", code }));
  });
});
