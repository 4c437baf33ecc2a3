import { open } from "node:fs/promises";
import { extname } from "node:path";
import type { MediaInfo } from "krait";
import type { Sdk } from "./sdk.js";

/** What a file is taken for. */
export type Input =
  | { kind: "text" | "subtitles"; path: string; bytes: number }
  | { kind: "media"; path: string; info: MediaInfo };

const textEndings = new Set([".txt", ".md", ".markdown", ".text"]);
/** With these a file is no media that can be read here; it may still be text. */
const notMedia = new Set(["MEDIA_INVALID", "MEDIA_UNSUPPORTED", "FFMPEG_NOT_FOUND", "FFMPEG_NOT_RUNNABLE"]);
const headBytes = 2 ** 16;

/**
 * Looks into a file, or with "-" into the beginning of standard input. Text is what is named so and what is UTF-8 without being media;
 * playlists are neither. Throws what the SDK's `probe` throws.
 */
export async function inspectInput(sdk: Sdk, path: string, signal: AbortSignal): Promise<Input> {
  const { probe, KraitError } = sdk;
  try {
    const info = await probe(path, { signal });
    if (!isNamedText(path)) return { kind: "media", path, info };
    return { kind: "text", path, bytes: info.bytes };
  } catch (error) {
    if (!KraitError.is(error)) throw error;
    // The name is believed where the content is text too: notes about a playlist begin like one.
    const mayBeText = notMedia.has(error.code) || (isNamedText(path) && error.code === "SOURCE_IS_PLAYLIST");
    const head = mayBeText ? await readHead(sdk, path) : undefined;
    if (!head || !isText(head.bytes, head.more)) throw error;
    const isSubtitles = /\.(srt|vtt)$/i.test(path) || /^(\ufeff)?WEBVTT\b/.test(Buffer.from(head.bytes).toString());
    return { kind: isSubtitles ? "subtitles" : "text", path, bytes: head.size };
  }
}

function isNamedText(path: string): boolean {
  return textEndings.has(extname(path).toLowerCase());
}

/** The first bytes and, of a file, its size. `probe` made sure that it is a regular file. */
async function readHead({ pipeOf }: Sdk, path: string): Promise<{ bytes: Uint8Array; more: boolean; size: number }> {
  if (path === "-") {
    const bytes = Buffer.concat(pipeOf("-").looked);
    return { bytes: bytes.subarray(0, headBytes), more: true, size: 0 };
  }
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    return { bytes: buffer.subarray(0, bytesRead), more: bytesRead < size, size };
  } finally {
    await file.close();
  }
}

/** UTF-8 without control characters other than white space; a character cut at the end is no fault when more follows. */
export function isText(head: Uint8Array, more: boolean): boolean {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: more });
  } catch {
    return false;
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return !/[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/.test(text);
}
