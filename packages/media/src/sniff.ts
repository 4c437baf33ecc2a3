/** What the first bytes of a file say it is; the name of a file is never believed. */
export type SourceKind = "wav" | "image" | "playlist" | "media" | "folder";

export interface Sniffed {
  kind: SourceKind;
  /** `png`, `wav`, `m3u8` …; for `media` only `mp4` and `matroska` are told apart, the rest is ffprobe's to name. */
  format: string;
}

/** Bytes of the head that sniffing wants to see. */
export const sniffBytes = 4096;

const textPlaylists: readonly (readonly [RegExp, string])[] = [
  [/^#EXTM3U/i, "m3u8"],
  [/^ffconcat\s+version/i, "ffconcat"],
  [/^\[playlist\]/i, "pls"],
  [/^\[reference\]/i, "asx"],
  [/^<asx\b/i, "asx"],
  [/^v=0\r?\no=/, "sdp"],
  [/^(<\?xml[^>]*>\s*)?(<!--[\s\S]*?-->\s*)*<(MPD|smil|SmoothStreamingMedia|playlist)\b/i, "xml playlist"],
];

export function sniff(head: Uint8Array): Sniffed {
  const image = imageFormat(head);
  if (image !== undefined) return { kind: "image", format: image };
  const ascii = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString("latin1");
  if (ascii.startsWith("RIFF") && ascii.startsWith("WAVE", 8)) return { kind: "wav", format: "wav" };
  const text = ascii.replace(/^\xef\xbb\xbf/, "").trimStart();
  for (const [pattern, format] of textPlaylists) if (pattern.test(text)) return { kind: "playlist", format };
  if (/^(ftyp|styp|moov|mdat|free|skip|wide)$/.test(ascii.slice(4, 8))) return { kind: "media", format: "mp4" };
  if (ascii.startsWith("\x1a\x45\xdf\xa3")) return { kind: "media", format: "matroska" };
  return { kind: "media", format: "" };
}

/** The still-image formats that sharp reads. Animated GIF is told apart later, by its page count. */
export function imageFormat(head: Uint8Array): string | undefined {
  const ascii = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, 16)).toString("latin1");
  if (ascii.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (ascii.startsWith("\xff\xd8\xff")) return "jpeg";
  if (ascii.startsWith("GIF87a") || ascii.startsWith("GIF89a")) return "gif";
  if (ascii.startsWith("RIFF") && ascii.startsWith("WEBP", 8)) return "webp";
  if (ascii.startsWith("II*\0") || ascii.startsWith("MM\0*")) return "tiff";
  if (/^ftyp(avif|avis|heic|heix|mif1|msf1)/.test(ascii.slice(4))) return "heif";
  return undefined;
}
