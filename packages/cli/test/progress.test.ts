import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { formatProgress, startProgress } from "../src/progress.js";

describe("the words of progress", () => {
  it("tell place, rate and time left in media time", () => {
    const state = { mediaSeconds: 4360, totalMediaSeconds: 10800, tokens: 1, elapsedSeconds: 4360 / 41 };
    expect(formatProgress(state)).toBe("01:12:40 / 03:00:00  41x realtime  eta 3m");
  });

  it("leave out what is not known", () => {
    expect(formatProgress({ mediaSeconds: 20, tokens: 9, elapsedSeconds: 10 })).toBe(
      "00:00:20 / --:--:--  2x realtime",
    );
    expect(formatProgress({ mediaSeconds: 0, totalMediaSeconds: 60, tokens: 0, elapsedSeconds: 0 })).toBe(
      "00:00:00 / 00:01:00  starting",
    );
  });

  it("count tokens where nothing has a length in time", () => {
    const state = { mediaSeconds: 0, tokens: 1000, totalTokens: 4000, elapsedSeconds: 2 };
    expect(formatProgress(state)).toBe("1,000 / 4,000 tokens  eta 6s");
  });

  it("tell counting from encoding", () => {
    const state = { stage: "count", mediaSeconds: 20, totalMediaSeconds: 60, tokens: 9, elapsedSeconds: 10 };
    expect(formatProgress(state)).toBe("counting  00:00:20 / 00:01:00  2x realtime  eta 20s");
  });

  it("never promise less than no time", () => {
    const state = { mediaSeconds: 11, totalMediaSeconds: 10, tokens: 1, elapsedSeconds: 1 };
    expect(formatProgress(state)).toContain("eta 0s");
  });
});

describe("showing progress", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const target = (isTTY: boolean) => {
    const written: string[] = [];
    return { written, out: { isTTY, columns: 40, write: (text: string) => written.push(text) } };
  };
  const state = (mediaSeconds: number, elapsedSeconds: number) => ({
    mediaSeconds,
    totalMediaSeconds: 100,
    tokens: 1,
    elapsedSeconds,
  });

  it("off a terminal is one line at once and then one per 10 s, whatever is reported", () => {
    const { written, out } = target(false);
    const progress = startProgress("first", { quiet: false, out });
    expect(written).toEqual(["first\n"]);
    for (let second = 1; second <= 25; second++) {
      vi.advanceTimersByTime(1000);
      if (second <= 12) progress.update(state(second, second));
    }
    progress.close();
    vi.advanceTimersByTime(60_000);
    expect(written.slice(1)).toEqual([
      "00:00:09 / 00:01:40  0.9x realtime  eta 2m\n",
      "00:00:12 / 00:01:40  0.6x realtime  eta 3m\n",
    ]);
  });

  it("on a terminal rewrites one line, not too often and no wider than it", () => {
    const { written, out } = target(true);
    const progress = startProgress("f".repeat(100), { quiet: false, out });
    expect(written).toEqual([`\r\x1b[K${"f".repeat(39)}`]);
    for (let i = 0; i < 50; i++) progress.update(state(i, 1));
    expect(written).toHaveLength(1);
    vi.advanceTimersByTime(200);
    progress.update(state(50, 1));
    expect(written).toHaveLength(2);
    progress.note("a note");
    expect(written.slice(2)).toEqual(["\r\x1b[Ka note\n", written[1]]);
    progress.close();
    progress.close();
    expect(written.slice(4)).toEqual(["\r\x1b[K"]);
    expect(written.slice(0, 2).join("")).not.toContain("\n");
  });

  it("copes with a terminal that does not know its width", () => {
    const { written, out } = target(true);
    startProgress("f".repeat(100), { quiet: false, out: { ...out, columns: 0 } }).close();
    expect(written[0]).toBe(`\r\x1b[K${"f".repeat(79)}`);
  });

  it("says nothing when told to be quiet", () => {
    const { written, out } = target(true);
    const progress = startProgress("first", { quiet: true, out });
    progress.update(state(1, 1));
    progress.note("note");
    progress.close();
    expect(written).toEqual([]);
  });
});
