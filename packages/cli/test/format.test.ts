import { describe, expect, it } from "vitest";
import { exitCode, formatFault, toFault, UsageFault } from "../src/fault.js";
import { bytes, clock, ratio, wait } from "../src/format.js";
import { isText } from "../src/inputs.js";

describe("formats", () => {
  it("clocks", () => {
    expect([0, 59.99, 60, 3599, 3600, 100 * 3600 + 61].map(clock)).toEqual([
      "00:00:00",
      "00:00:59",
      "00:01:00",
      "00:59:59",
      "01:00:00",
      "100:01:01",
    ]);
  });

  it("waiting times, rounded up", () => {
    expect([0, 0.2, 59, 59.5, 61, 3540, 3541, 7500].map(wait)).toEqual([
      "0s",
      "1s",
      "59s",
      "1m",
      "2m",
      "59m",
      "1h00m",
      "2h05m",
    ]);
    expect(wait(Number.POSITIVE_INFINITY)).toBe("?");
  });

  it("ratios and sizes", () => {
    expect([41.3, 10, 9.96, 3.21, 0.0456].map(ratio)).toEqual(["41", "10", "10", "3.2", "0.046"]);
    expect([0, 1023, 1024, 5 * 2 ** 30].map(bytes)).toEqual(["0 bytes", "1023 bytes", "1.0 KiB", "5.0 GiB"]);
  });
});

describe("faults", () => {
  it("are a sentence, a hint and a code", () => {
    const fault = toFault(new UsageFault("Expected a cat\nfor the mat", "NO_CAT", "Get one."));
    expect(formatFault(fault, { json: false })).toBe("krait: Expected a cat; for the mat\n  hint: Get one.  [NO_CAT]");
    expect(JSON.parse(formatFault(fault, { json: true }))).toEqual({
      error: { kind: "usage", code: "NO_CAT", message: "Expected a cat\nfor the mat", hint: "Get one." },
    });
  });

  it("do not let the name of a file move the cursor", () => {
    const fault = toFault(new UsageFault("no \x1b[2J\x07 here", "X", "y"));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
    expect(formatFault(fault, { json: false }).replace("\n", "")).not.toMatch(/[\u0000-\u001f]/);
  });

  it("decide the exit code by who can mend them", () => {
    const code = (kind: string, name = "X") => exitCode({ kind, code: name });
    expect([code("usage"), code("input"), code("environment"), code("aborted")]).toEqual([2, 3, 4, 130]);
    expect(code("environment", "PAGE_NOT_WRITTEN")).toBe(5);
    expect(exitCode(toFault(new TypeError("x is not a function")))).toBe(1);
    expect(toFault("thrown words")).toMatchObject({ kind: "internal", message: "thrown words" });
  });
});

describe("what is taken for text", () => {
  const utf8 = (text: string) => new TextEncoder().encode(text);
  it("is UTF-8 without control characters", () => {
    expect(isText(utf8("Größe\r\n\t三\f"), false)).toBe(true);
    expect(isText(utf8("a\0b"), false)).toBe(false);
    expect(isText(utf8("a\x07b"), false)).toBe(false);
    expect(isText(new Uint8Array([0x61, 0xff, 0x62]), false)).toBe(false);
  });

  it("may be cut inside a character only when more follows", () => {
    const cut = utf8("ä三").subarray(0, 4);
    expect(isText(cut, true)).toBe(true);
    expect(isText(cut, false)).toBe(false);
  });
});
