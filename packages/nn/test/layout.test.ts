import { expect, test } from "vitest";
import { parseLayout } from "../src/index.js";

const letters = ["A", "M2"];

test("letters, groups and counts", () => {
  expect(parseLayout("(M2 M2 M2 A)x2", letters)).toEqual(["M2", "M2", "M2", "A", "M2", "M2", "M2", "A"]);
  expect(parseLayout("M2x3 A", letters)).toEqual(["M2", "M2", "M2", "A"]);
  expect(parseLayout("((M2x2 A)x2 M2)x2", letters).join(" ")).toBe("M2 M2 A M2 M2 A M2 M2 M2 A M2 M2 A M2");
  expect(parseLayout(["A", "M2"], letters)).toEqual(["A", "M2"]);
});

test.each(["", "M3", "(M2", "M2)", "M2 x2x", "x3", "M2x9999 A", "(M2x100)x100", ["M9"], []])(
  "%j is refused",
  (layout) => {
    expect(() => parseLayout(layout, letters)).toThrow(expect.objectContaining({ code: "INVALID_LAYOUT" }));
  },
);
