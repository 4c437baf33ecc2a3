import type { Limits } from "@krait/core";
import { decodeUtf8, parseSubtitles, type SubtitleCue } from "@krait/formats";
import { pipeOf } from "@krait/media";
import { readTextSource } from "@krait/tokenizers";
import type { TextSource } from "./sources.js";

/** The words of a source without times, or its cues. */
export type Words = { text: string } | { cues: Iterable<SubtitleCue> };

/**
 * Reads a text source whole; a stream's bytes are kept, so that it can be counted first and encoded afterwards.
 *
 * @throws what `readTextSource` and `parseSubtitles` throw, and of a stream InputError (MEDIA_STALLED, SOURCE_UNREADABLE, TEXT_TOO_LONG)
 */
export async function readWords(
  source: TextSource,
  { limits, signal }: { limits: Limits; signal?: AbortSignal | undefined },
): Promise<Words> {
  const text = await readAll(source, limits, signal);
  if (!source.timed) return { text };
  const { start = Number.NEGATIVE_INFINITY, end = Number.POSITIVE_INFINITY, offset } = source.timed;
  const cues = await parseSubtitles(text, source.name, { signal });
  return { cues: shifted(cues, start, end, offset) };
}

async function readAll({ input }: TextSource, limits: Limits, signal: AbortSignal | undefined): Promise<string> {
  if (!("stream" in input)) return readTextSource(input, signal ? { limits, signal } : { limits });
  const pipe = pipeOf(input.stream);
  const bytes = await pipe.readAll(limits.maxTextBytes, "TEXT_TOO_LONG", limits, signal);
  const text = decodeUtf8(bytes, pipe.name, "TEXT_NOT_UTF8");
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}

function* shifted(cues: Iterable<SubtitleCue>, start: number, end: number, offset: number): Generator<SubtitleCue> {
  for (const cue of cues) {
    if (cue.start < start || cue.start >= end) continue;
    yield { start: cue.start + offset, end: cue.end + offset, text: cue.text };
  }
}
