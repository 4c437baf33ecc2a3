import { setImmediate as breathe } from "node:timers/promises";
import { expected, InputError, throwIfAborted } from "@krait/core";

/** A line of subtitles: its words without markup, lines parted by \n. Times in seconds. */
export interface SubtitleCue {
  start: number;
  end: number;
  text: string;
}

/** Cues in the order of their starts; equal starts in the order of the file. Words are cut out of the file's text when they are asked for. */
export interface Subtitles extends Iterable<SubtitleCue> {
  readonly format: "srt" | "vtt";
  readonly count: number;
}

const srtTime = String.raw`(\d{1,4}):([0-5]?\d):([0-5]?\d)[,.](\d{1,3})`;
const vttTime = String.raw`(?:(\d{1,4}):)?([0-5]\d):([0-5]\d)\.(\d{3})`;
const timings = {
  srt: new RegExp(String.raw`^\s*${srtTime}\s*-->\s*${srtTime}(?:\s.*)?$`),
  vtt: new RegExp(String.raw`^\s*${vttTime}\s+-->\s+${vttTime}(?:\s.*)?$`),
};
/** Lines between two turns of the event loop. */
const linesPerTurn = 2 ** 14;

/**
 * Reads SubRip (.srt) or WebVTT (.vtt, told by its first line). Cues may overlap and come in any order. In SubRip a cue's words go on
 * until the next time, blank lines included, as players of files with blank lines in cues show them; in WebVTT a blank line ends them, and
 * NOTE, STYLE and REGION blocks are no cues. Cues without words are left out.
 *
 * @param text the file's, line ends of any kind
 * @param name for messages
 * @throws InputError SUBTITLES_INVALID (no cues; a time that cannot be read: negative ones are none), SUBTITLES_TIMES_INVALID (a cue that ends
 * before it starts), both with the line, AbortedError
 */
export async function parseSubtitles(
  text: string,
  name: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Subtitles> {
  const format = /^WEBVTT(?:[ \t\r\n]|$)/.test(text) ? "vtt" : "srt";
  const found = new CueTable(text);
  const timing = timings[format];
  let number = 0;
  /** Where the line before begins, and whether it may be a cue's number. */
  let before = { from: 0, isNumber: false };
  for (const line of lines(text)) {
    number++;
    if (number % linesPerTurn === 0) {
      await breathe();
      throwIfAborted(signal, "reading subtitles");
    }
    const words = text.slice(line.from, Math.min(line.to, line.from + 200)).trimEnd();
    if (words.includes("-->")) {
      const times = timing.exec(words);
      if (!times) {
        throw invalid(`line ${number} of ${name}`, "times as 00:01:02.345 --> 00:01:04.000", words);
      }
      const [start, end] = [seconds(times, 1), seconds(times, 5)];
      if (end < start) {
        throw new InputError(expected(`an end after ${start} s`, `the cue at line ${number} of ${name}`, `${end} s`), {
          code: "SUBTITLES_TIMES_INVALID",
          hint: "Correct the times of this cue, or delete it.",
        });
      }
      // SubRip: the number before the times is no word of the cue before.
      found.close(before.isNumber && format === "srt" ? before.from : line.from);
      found.open(start, end, line.next);
    } else if (format === "vtt" && words.trim() === "") found.close(line.from);
    before = { from: line.from, isNumber: /^\s*\d+\s*$/.test(words) };
  }
  found.close(text.length);
  if (found.count === 0) throw invalid(name, "subtitles (.srt or .vtt)", "no line with times");
  return found.sorted(format);
}

function* lines(text: string): Generator<{ from: number; to: number; next: number }> {
  for (let from = 0; from < text.length; ) {
    const feed = text.indexOf("\n", from);
    const next = feed < 0 ? text.length : feed + 1;
    yield { from, to: feed < 0 ? text.length : feed, next };
    from = next;
  }
}

function seconds(times: RegExpExecArray, from: number): number {
  const [hours, minutes, whole, fraction] = times.slice(from, from + 4);
  return Number(hours ?? 0) * 3600 + Number(minutes) * 60 + Number(whole) + Number(fraction!.padEnd(3, "0")) / 1000;
}

/** Times and places of cues as columns: a million cues take 24 MB. */
class CueTable {
  count = 0;
  private start = new Float64Array(1024);
  private end = new Float64Array(1024);
  /** Where a cue's words begin and end in the text. */
  private place = new Uint32Array(2048);
  private isOpen = false;

  constructor(private readonly text: string) {}

  open(start: number, end: number, at: number): void {
    if (this.count === this.start.length) this.grow();
    this.start[this.count] = start;
    this.end[this.count] = end;
    this.place[2 * this.count] = at;
    this.count++;
    this.isOpen = true;
  }

  close(at: number): void {
    if (this.isOpen) this.place[2 * this.count - 1] = Math.max(at, this.place[2 * this.count - 2]!);
    this.isOpen = false;
  }

  sorted(format: "srt" | "vtt"): Subtitles {
    const { text, start, end, place, count } = this;
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    let rises = true;
    for (let i = 1; i < count; i++) rises &&= start[i - 1]! <= start[i]!;
    if (!rises) order.sort((a, b) => start[a]! - start[b]! || a - b);
    return {
      format,
      count,
      *[Symbol.iterator]() {
        for (const i of order) {
          const words = plainWords(text.slice(place[2 * i]!, place[2 * i + 1]!), format);
          if (words !== "") yield { start: start[i]!, end: end[i]!, text: words };
        }
      },
    };
  }

  private grow(): void {
    const larger = <A extends Float64Array | Uint32Array>(column: A): A => {
      const copy = new (column.constructor as new (length: number) => A)(2 * column.length);
      copy.set(column as never);
      return copy;
    };
    this.start = larger(this.start);
    this.end = larger(this.end);
    this.place = larger(this.place);
  }
}

const entities: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  nbsp: "\u00a0",
  lrm: "\u200e",
  rlm: "\u200f",
};

/** Without tags (`<i>`, `<v Ann>`, `<00:01.000>`), positions (`{\an8}`) and, in WebVTT, with its entities spelt out. */
function plainWords(raw: string, format: "srt" | "vtt"): string {
  let words = raw.replace(/\r\n?/g, "\n").replace(/<\/?[a-zA-Z0-9][^<>\n]*>/g, "");
  if (format === "srt") words = words.replace(/\{\\[^{}\n]*\}/g, "");
  else words = words.replace(/&(\w+);/g, (whole, name: string) => entities[name] ?? whole);
  return words
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join("\n");
}

function invalid(name: string, what: string, received: string): InputError {
  return new InputError(expected(what, name, received), {
    code: "SUBTITLES_INVALID",
    hint: "Open it in a subtitle editor and save it as SubRip or WebVTT in UTF-8.",
  });
}
