import { describe, expect, it } from "vitest";
import { parseSubtitles } from "../src/index.js";

const cues = async (text: string) =>
  [...(await parseSubtitles(text, "f"))].map(({ start, end, text }) => [start, end, text]);

describe("subtitles", () => {
  it("of SubRip keep blank lines inside a cue, and neither numbers nor markup", async () => {
    const text = [
      "1",
      "00:00:01,500 --> 00:00:03,000",
      "<i>Hello</i> there,",
      '{\\an8}<font color="#fff">you</font> & 3 < 4',
      "",
      "2",
      "00:00:02.25 --> 01:00:04,5  X1:0 X2:9",
      "Before the gap",
      "",
      "12",
      "behind it",
      "",
      "3",
      "00:00:05,000 --> 00:00:05,000",
      "<b></b>",
      "4",
      "00:00:06,000 --> 00:00:07,000",
      "no blank line before",
    ];
    const wanted = [
      [1.5, 3, "Hello there,\nyou & 3 < 4"],
      [2.25, 3604.5, "Before the gap\n12\nbehind it"],
      [6, 7, "no blank line before"],
    ];
    for (const end of ["\n", "\r\n"]) expect(await cues(text.join(end))).toEqual(wanted);
  });

  it("of WebVTT leave notes, styles and settings out", async () => {
    const text = `WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE a remark
over two lines

first
00:01.000 --> 00:02.500 align:start position:0%
<v Ann>Fish &amp; <00:01.500>chips</v> &unknown;

01:00:03.000 --> 01:00:04.000
two
lines

stray words
`;
    expect(await cues(text)).toEqual([
      [1, 2.5, "Fish & chips &unknown;"],
      [3603, 3604, "two\nlines"],
    ]);
  });

  it("that overlap or come in any order are sorted by their starts, equal ones as they stand", async () => {
    const at = (start: number, end: number, words: string) => `00:00:0${start},000 --> 00:00:0${end},000\n${words}\n\n`;
    const text = at(5, 9, "c") + at(1, 8, "a") + at(5, 6, "d") + at(2, 3, "b");
    expect((await cues(text)).map(([, , words]) => words)).toEqual(["a", "b", "c", "d"]);
  });

  it("of a hundred thousand cues are read with turns of the event loop in between", async () => {
    const clock = (ms: number) => new Date(ms).toISOString().slice(11, 23).replace(".", ",");
    const many = Array.from(
      { length: 100_000 },
      (_, i) => `${i}\n${clock(i * 7)} --> ${clock(i * 7 + 5000)}\ncue ${i}\n\n`,
    );
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const found = await parseSubtitles(many.join(""), "f");
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
    expect(found.count).toBe(100_000);
    expect([...found][77_777]).toEqual({ start: 544.439, end: 549.439, text: "cue 77777" });
    const aborted = parseSubtitles(many.join(""), "f", { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it.each([
    ["SUBTITLES_INVALID", "no subtitles at all"],
    ["SUBTITLES_INVALID", "WEBVTT\n\nNOTE nothing\n"],
    ["SUBTITLES_INVALID", "1\n-00:00:01,000 --> 00:00:02,000\nnegative\n"],
    ["SUBTITLES_INVALID", "1\n00:00:61,000 --> 00:01:02,000\nbeyond\n"],
    ["SUBTITLES_INVALID", `1\n00:00:01,000 --> ${"9".repeat(10_000)}\nlong\n`],
    ["SUBTITLES_INVALID", "WEBVTT\n\n00:01,000 --> 00:02,000\ncommas\n"],
    ["SUBTITLES_TIMES_INVALID", "1\n00:00:03,000 --> 00:00:02,000\nbackwards\n"],
  ])("%s: %j", async (code, text) => {
    await expect(parseSubtitles(text, "f.srt")).rejects.toMatchObject({ kind: "input", code });
  });
});
