import { cosine } from "./moments.js";
import { dataUri } from "./pictures.js";

const WIDTH = 1000;
const MOST_SCENES = 60;
const MAP_SIDE = 160;

/** One self-contained page: scenes with their first pictures, how much each moment differs, the moments alike, and a map of all likeness. */
export function drawPage({ file, moments, scenes, differences, at, alike }) {
  const shown = scenes.length > MOST_SCENES ? `, the first ${MOST_SCENES} shown` : "";
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${escapeHtml(file)}: scenes</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: ${WIDTH}px; color: #222; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
svg { width: 100%; height: auto; display: block }
ul { display: flex; flex-wrap: wrap; gap: 10px; list-style: none; padding: 0; margin: 0; font-size: 13px }
li img { display: block; width: 112px; border-radius: 4px } .map { width: 420px; image-rendering: pixelated }
.asked img { outline: 3px solid #e8590c }
</style>
<h1>${escapeHtml(file)}</h1>
<p>Random weights: what is alike here are signals, not meanings. A moment is the mean of what the encoder says of one window.</p>
<h2>How much each moment differs from the one before</h2>
${timeline(moments, scenes, differences)}
<h2>${scenes.length} scenes${shown}</h2>
<ul>${scenes
    .slice(0, MOST_SCENES)
    .map(({ first, last }) => picture(moments[first], `${time(moments[first].start)} to ${time(moments[last].end)}`))
    .join("\n")}</ul>
<h2>Moments like ${time(moments[at].start)}</h2>
<ul>${picture(moments[at], time(moments[at].start), "asked")}
${alike.map(({ index, likeness }) => picture(moments[index], `${time(moments[index].start)} · ${likeness.toFixed(2)}`)).join("\n")}</ul>
<h2>Every moment beside every other: light squares are scenes, light stripes what comes back</h2>
<img class="map" alt="map of likeness, time to the right and down" src="${dataUri(likenessMap(moments))}">
</html>
`;
}

function timeline(moments, scenes, differences) {
  const [begin, end] = [moments[0].start, moments.at(-1).end];
  const [height, bottom] = [150, 125];
  const most = Math.max(...differences, 0.1);
  const x = (seconds) => (((seconds - begin) / (end - begin || 1)) * (WIDTH - 20) + 10).toFixed(1);
  const y = (difference) => (bottom - (difference / most) * (bottom - 10)).toFixed(1);
  const bands = scenes.map(({ first, last }, i) => {
    const [from, to] = [x(moments[first].start), x(moments[last].end)];
    return `<rect x="${from}" y="5" width="${(to - from).toFixed(1)}" height="${bottom - 5}" fill="${i % 2 ? "#dbe4ff" : "#e6fcf5"}"/>`;
  });
  const points = differences.map((difference, i) => `${x(moments[i].start)},${y(difference)}`);
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];
  const step = steps.find((seconds) => (end - begin) / seconds <= 9) ?? (end - begin) / 9;
  const ticks = [];
  for (let t = Math.ceil(begin / step) * step; t <= end; t += step) {
    const anchor = x(t) < 30 ? "start" : x(t) > WIDTH - 30 ? "end" : "middle";
    ticks.push(`<text x="${x(t)}" y="${height - 6}" font-size="13" text-anchor="${anchor}">${time(t)}</text>`);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}">${bands.join("")}
<polyline points="${points.join(" ")}" fill="none" stroke="#1c7ed6" stroke-width="1.5"/>${ticks.join("")}</svg>`;
}

function picture({ picture }, words, kind = "") {
  const image = picture ? `<img alt="" src="${dataUri(picture)}">` : "";
  return `<li class="${kind}">${image}${words}</li>`;
}

/** Likeness of groups of moments, as many as fit, from dark (opposite) to light (equal). */
function likenessMap(moments) {
  const side = Math.min(MAP_SIDE, moments.length);
  const groups = Array.from({ length: side }, (_, k) => {
    const of = moments.slice(Math.floor((k * moments.length) / side), Math.floor(((k + 1) * moments.length) / side));
    return of[0].feature.map((_, j) => of.reduce((sum, { feature }) => sum + feature[j], 0) / of.length);
  });
  const pixels = new Uint8Array(side * side * 3);
  for (const [i, a] of groups.entries()) {
    for (const [j, b] of groups.entries()) {
      const light = (cosine(a, b) + 1) / 2;
      pixels.set([255 * light ** 2, 230 * light, 60 + 120 * light], (i * side + j) * 3);
    }
  }
  return { pixels, width: side, height: side };
}

function time(seconds) {
  const whole = new Date(Math.round(seconds * 10) * 100).toISOString();
  return seconds < 3600 ? whole.slice(14, 21) : whole.slice(11, 19);
}

function escapeHtml(text) {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
