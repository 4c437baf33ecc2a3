import { createHash } from "node:crypto";
import type { PageData } from "../collector.js";
import { clip, escapeHtml, scriptJson } from "../escape.js";
import type { ParsedMeta } from "../meta.js";
import type { Passage } from "../passages.js";
import type { Thumbnail } from "../thumbnails.js";
import { clientBase } from "./client-base.js";
import { clientMatrix } from "./client-matrix.js";
import { clientTimeline } from "./client-timeline.js";
import { clientTracks } from "./client-tracks.js";
import { header, options } from "./header.js";
import { matrix, texts, timeline } from "./sections.js";
import { style } from "./style.js";
import { trackStyle } from "./style-tracks.js";

/** Everything a page says. */
export interface PageContent {
  title: string;
  meta: ParsedMeta;
  data: PageData;
  dim: number;
  tokens: { text: number; audio: number; video: number; class: number; separator: number };
  untimedTokens: number;
  nonFinite: number;
  thumbnails: readonly Thumbnail[];
  passages: readonly Passage[];
  passageCount: number;
  cueCount: number;
}

const css = `${style}${trackStyle}`;
const script = `(() => {"use strict";${clientBase}${clientTracks}${clientTimeline}${clientMatrix}})();`;

function hash(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

/** Only this very script and style may run; nothing may be fetched from anywhere. */
const policy = [
  "default-src 'none'",
  `script-src ${hash(script)}`,
  `style-src ${hash(css)}`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** One HTML document, self-contained. */
export function renderPage(content: PageContent): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="Krait">
<title>${escapeHtml(clip(content.title, 120))}</title>
<style>${css}</style>
</head>
<body>
<main>
${header(content)}
${timeline(content)}
${matrix(content)}
${texts(content)}
${options(content)}
</main>
<script type="application/json" id="data">${scriptJson(content.data)}</script>
<script>${script}</script>
</body>
</html>
`;
}
