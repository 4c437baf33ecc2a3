// Scene changes and similar moments of a video of any length, printed and drawn on a page, in flat memory:
// node examples/long-video [FILE] [--at SECONDS] [--window SECONDS] [--page out/long-video.html] [--json]
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { loadEncoder, video } from "krait";
import { refuse } from "../plain-errors.mjs";
import { findAlike, findScenes, standardise } from "./moments.js";
import { drawPage } from "./page.js";
import { thumbnail } from "./pictures.js";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    at: { type: "string" }, // the moment to find others like; else the middle of the longest scene
    window: { type: "string", default: "1" }, // seconds that are compared as one
    page: { type: "string", default: "out/long-video.html" },
    json: { type: "boolean", default: false },
  },
});
const file = positionals[0] ?? "out/demo/street.mkv";
if (!existsSync(file)) refuse("a file", "the video", file, "Name one, or make the demo's clip: npm run demo");
const seconds = Number(flags.window);
if (!(seconds > 0)) refuse("seconds", "--window", flags.window, "For example --window 0.5");
if (flags.at !== undefined && !(Number(flags.at) >= 0)) refuse("seconds", "--at", flags.at, "For example --at 90");

await mkdir(dirname(flags.page), { recursive: true }); // before the work: a place that cannot be had would lose it

const moments = []; // of an hour, in windows of a second: 4 MB of features and 34 MB of thumbnails
const pictures = new Map();
const encoder = await loadEncoder({ seed: 0 }); // random weights: likeness of signals, not of meanings
try {
  const parts = encoder.stream([video(file, { fps: 2 / seconds })], {
    pool: seconds, // one mean feature per window, which is two frames here
    taps: {
      video: (frame) => {
        const window = Math.floor(frame.start / seconds);
        if (!pictures.has(window)) pictures.set(window, thumbnail(frame));
      },
    },
  });
  for await (const { count, dim, features, start, end, modality } of parts) {
    for (let i = 0; i < count; i++) {
      if (modality[i] !== 2) continue; // 2 is video: separators have rows of their own
      const picture = pictures.get(Math.floor(start[i] / seconds));
      moments.push({ start: start[i], end: end[i], feature: features.slice(i * dim, (i + 1) * dim), picture });
    }
  }
} finally {
  await encoder.close();
}
standardise(moments.map(({ feature }) => feature));

const { scenes, differences } = findScenes(moments);
const longest = scenes.reduce((a, b) => (b.last - b.first > a.last - a.first ? b : a));
const at = flags.at
  ? moments.findLastIndex(({ start }, i) => i === 0 || start <= Number(flags.at))
  : Math.floor((longest.first + longest.last) / 2);
const alike = findAlike(moments, at, { apart: 2 * seconds, most: 5 });

await writeFile(flags.page, drawPage({ file, moments, scenes, differences, at, alike }));
if (flags.json) {
  const scenesOut = scenes.map(({ first, last }) => ({ start: moments[first].start, end: moments[last].end }));
  const alikeOut = alike.map(({ index, likeness }) => ({ start: moments[index].start, likeness }));
  console.log(JSON.stringify({ scenes: scenesOut, at: moments[at].start, alike: alikeOut, page: flags.page }));
} else {
  const times = scenes.slice(1).map(({ first }) => `${moments[first].start.toFixed(1)} s`);
  console.log(`scene changes at ${times.join(", ") || "no time"}`);
  console.log(`like ${moments[at].start.toFixed(1)} s:`);
  for (const { index, likeness } of alike)
    console.log(`  ${moments[index].start.toFixed(1)} s  ${likeness.toFixed(3)}`);
  console.log(`drawn in ${flags.page}`);
}
