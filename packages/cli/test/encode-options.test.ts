import { describe, expect, it } from "vitest";
import { pageBeside, parseEncode, parseEstimate } from "../src/commands/encode-options.js";
import { toFault } from "../src/fault.js";

const parse = (line: string) => parseEncode(line.split(" "));

function faultOf(line: string) {
  try {
    parseEncode(line === "" ? [] : line.split(" "));
  } catch (error) {
    return toFault(error);
  }
  throw new Error(`expected a fault for: ${line}`);
}

describe("krait encode's command line", () => {
  it("leaves out what was not given, so that the SDK's defaults hold", () => {
    expect(parse("a.mp4 --out f.safetensors")).toEqual({
      inputs: [{ file: "a.mp4" }],
      model: { seed: 0 },
      out: "f.safetensors",
      page: "f.html",
      video: true,
      audio: true,
      sampling: {},
      range: {},
      streams: {},
      encoder: {},
      resume: false,
      quiet: false,
      json: false,
    });
  });

  it("reads every option", () => {
    const line =
      "a.mp4 --model m --out=f --page p.html --fps 0.5 --no-audio --start 1:30 --end 01:00:00.5 --device cuda --threads 3 --dtype bf16 --chunk-tokens 512 --resume --checkpoint 5 --quiet --json";
    expect(parse(line)).toEqual({
      inputs: [{ file: "a.mp4" }],
      model: "m",
      out: "f",
      page: "p.html",
      video: true,
      audio: false,
      sampling: { fps: 0.5 },
      range: { start: 90, end: 3600.5 },
      streams: {},
      encoder: { device: "cuda", threads: 3, dtype: "bf16", chunkTokens: 512 },
      resume: true,
      checkpointSeconds: 5,
      quiet: true,
      json: true,
    });
    expect(parse("a --out f --frames 8 --seed 5 --no-video --no-page")).toMatchObject({
      sampling: { count: 8 },
      model: { seed: 5 },
      video: false,
      page: undefined,
    });
  });

  it("chooses frames, streams and times", () => {
    expect(parse("a --out f --times 3,1:30,01:00:00.5 --video-stream 2 --audio-stream 0")).toMatchObject({
      sampling: { times: [3, 90, 3600.5] },
      streams: { video: 2, audio: 0 },
    });
    expect(parse("- --out f --key-frames --start 10 --duration 5 --offset=-2.5")).toMatchObject({
      inputs: [{ file: "-" }],
      sampling: { keyFrames: true },
      range: { start: 10, end: 15, offset: -2.5 },
    });
    expect(faultOf("a --out f --times 3,soon").code).toBe("INVALID_OPTION");
    expect(faultOf("a --out f --times 3 --key-frames").code).toBe("OPTIONS_EXCLUDE");
    expect(faultOf("a --out f --end 3 --duration 3").code).toBe("OPTIONS_EXCLUDE");
  });

  it("is an estimate's too, which needs no --out", () => {
    expect(parseEstimate(["a", "--fps", "1"])).toMatchObject({ sampling: { fps: 1 }, compare: undefined });
    expect(parseEstimate(["a", "--compare", "attention", "--out", "f"]).compare).toBe("attention");
    expect(() => parseEstimate(["a", "--compare", "other"])).toThrow("one of attention");
    expect(() => parseEstimate([])).toThrow("at least one file for krait estimate");
  });

  it("pools by a word or by seconds", () => {
    expect(parse("a --out f --pool frame").pool).toBe("frame");
    expect(parse("a --out f --pool 0.5").pool).toBe(0.5);
    for (const wrong of ["scene", "0", "1s"]) {
      expect(faultOf(`a --out f --pool ${wrong}`)).toMatchObject({ code: "INVALID_OPTION" });
    }
  });

  it("keeps files and words in the order they were written", () => {
    const inputs = parseEncode([
      "--text",
      "one",
      "b.mp4",
      "--out",
      "f",
      "--text=-- two",
      "c.txt",
      "--",
      "--d.mp4",
    ]).inputs;
    expect(inputs).toEqual([
      { text: "one" },
      { file: "b.mp4" },
      { text: "-- two" },
      { file: "c.txt" },
      { file: "--d.mp4" },
    ]);
  });

  it.each([
    ["", "NO_SOURCES"],
    ["--out f", "NO_SOURCES"],
    ["a.mp4", "OUT_MISSING"],
    ["a --out f --colour", "UNKNOWN_OPTION"],
    ["a --out f --out g", "OPTION_REPEATED"],
    ["a --out", "INVALID_OPTION"],
    ["a --out f --quiet=yes", "INVALID_OPTION"],
    ["a --out f --text -x", "INVALID_OPTION"],
    ["a --out f --fps 1 --frames 2", "OPTIONS_EXCLUDE"],
    ["a --out f --page p --no-page", "OPTIONS_EXCLUDE"],
    ["a --out f --model m --seed 1", "OPTIONS_EXCLUDE"],
    ["a --out f --no-video --no-audio", "OPTIONS_EXCLUDE"],
    ["a --out f --fps 0", "INVALID_OPTION"],
    ["a --out f --fps 0x10", "INVALID_OPTION"],
    ["a --out f --fps 1e9", "INVALID_OPTION"],
    ["a --out f --frames 1.5", "INVALID_OPTION"],
    ["a --out f --threads 0", "INVALID_OPTION"],
    ["a --out f --chunk-tokens 1048577", "INVALID_OPTION"],
    ["a --out f --seed=-1", "INVALID_OPTION"],
    ["a --out f --seed 9007199254740993", "INVALID_OPTION"],
    ["a --out f --dtype f16", "INVALID_OPTION"],
    ["a --out f --device gpu", "INVALID_OPTION"],
    ["a --out f --start 1:75", "INVALID_OPTION"],
    ["a --out f --start soon", "INVALID_OPTION"],
    ["a --out f --start 5 --end 5", "INVALID_OPTION"],
    ["a --out f --end 0", "INVALID_OPTION"],
  ])("refuses: %s", (line, code) => {
    expect(faultOf(line)).toMatchObject({ kind: "usage", code, hint: expect.stringMatching(/\S/) });
  });

  it("puts the page beside the features", () => {
    expect(pageBeside("a/talk.safetensors")).toBe("a/talk.html");
    expect(pageBeside("a.b/talk")).toBe("a.b/talk.html");
    expect(pageBeside("page.html")).toBe("page.html.html");
  });
});
