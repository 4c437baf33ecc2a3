import { clip, escapeHtml } from "../escape.js";
import type { ParsedMeta } from "../meta.js";
import type { PageContent } from "./document.js";
import { count, duration, magnitude } from "./format.js";

const MAX_SOURCES = 60;
const MAX_OPTIONS = 60;

/** User text, isolated so that a right-to-left name cannot reorder the words around it. */
function user(text: string, limit = 200): string {
  return `<bdi>${escapeHtml(clip(text, limit))}</bdi>`;
}

/** Title, sources, what the model is, and the numbers of the run. */
export function header(content: PageContent): string {
  const { title, meta } = content;
  const made = [`Krait ${escapeHtml(clip(meta.version, 40))}`, meta.createdAt && escapeHtml(clip(meta.createdAt, 60))];
  return `<header>
<p class="eyebrow">${made.filter(Boolean).join(" · ")}</p>
<h1>${user(title, 300)}</h1>
${sources(meta)}
${model(meta)}
${numbers(content)}
${tokenBar(content)}
</header>`;
}

function sources({ sources: all }: ParsedMeta): string {
  if (all.length === 0) return "";
  const items = all.slice(0, MAX_SOURCES).map(({ name, kind, durationSeconds, details }) => {
    const facts = [
      durationSeconds === undefined ? "" : duration(durationSeconds),
      details ? escapeHtml(clip(details, 200)) : "",
    ];
    return `<li class="source ${kind}"><span class="kind">${kind}</span><span class="name">${user(name)}</span><span class="facts">${facts.filter(Boolean).join(" · ")}</span></li>`;
  });
  if (all.length > MAX_SOURCES) items.push(`<li class="source">and ${count(all.length - MAX_SOURCES)} more</li>`);
  return `<ul class="sources" aria-label="Sources">${items.join("")}</ul>`;
}

function model({ model: { name, random, seed, layout, parameters, sha256 } }: ParsedMeta): string {
  const facts = [
    layout && `layout ${user(layout, 120)}`,
    parameters !== undefined && `${magnitude(parameters)} parameters`,
    sha256 && `sha256 <code title="${escapeHtml(clip(sha256, 80))}">${escapeHtml(sha256.slice(0, 12))}</code>`,
  ].filter(Boolean);
  const line = `<strong>${user(name)}</strong>${facts.length > 0 ? ` · ${facts.join(" · ")}` : ""}`;
  if (!random) return `<p class="model"><span class="kind">model</span><span>${line}</span></p>`;
  const origin = seed === undefined ? "random numbers" : `random numbers from seed ${seed}`;
  return `<div class="model random" role="note"><span class="kind">random weights</span><p>${line}<br>This encoder has not been trained: its weights are ${origin}, so the features carry no trained meaning. The page shows how the run keeps time and where its input changes, not what a model has learned.</p></div>`;
}

function numbers({ meta, data, dim, tokens }: PageContent): string {
  const total = tokens.text + tokens.audio + tokens.video + tokens.class + tokens.separator;
  const { elapsedSeconds } = meta;
  const cells: [string, string, string][] = [];
  if (data.duration > 0) cells.push(["Length", duration(data.duration), ""]);
  cells.push(["Tokens", count(total), data.duration > 0 ? `${rate(total / data.duration)} per second` : ""]);
  cells.push(["Features", count(dim), "per token"]);
  if (elapsedSeconds !== undefined && elapsedSeconds > 0) {
    const speed = data.duration / elapsedSeconds;
    if (speed > 0) cells.push(["Speed", `${rate(speed)}×`, `real time, ${duration(elapsedSeconds)} in all`]);
    else cells.push(["Time taken", duration(elapsedSeconds), ""]);
  }
  cells.push(["Device", user(meta.device, 60), ""]);
  const items = cells.map(
    ([name, value, note]) =>
      `<div><dt>${name}</dt><dd>${value}${note ? ` <small>${escapeHtml(note)}</small>` : ""}</dd></div>`,
  );
  return `<dl class="numbers">${items.join("")}</dl>`;
}

function rate(value: number): string {
  return value >= 10 ? count(Math.round(value)) : String(Number(value.toPrecision(2)));
}

/** Shares of the modalities, drawn in SVG attributes since the page's policy forbids inline styles. */
function tokenBar({ tokens, nonFinite }: PageContent): string {
  const parts = (["video", "audio", "text", "class", "separator"] as const).filter((name) => tokens[name] > 0);
  const total = parts.reduce((sum, name) => sum + tokens[name], 0);
  if (total === 0) return "";
  let x = 0;
  const bars = parts.map((name) => {
    const width = (100 * tokens[name]) / total;
    const bar = `<rect class="fill-${name}" x="${x.toFixed(3)}" y="0" width="${width.toFixed(3)}" height="1"/>`;
    x += width;
    return bar;
  });
  const legend = parts.map((name) => {
    const words = name === "separator" ? "separators" : name === "class" ? "class token" : name;
    return `<li class="${name}"><b>${count(tokens[name])}</b> ${words}</li>`;
  });
  const warning =
    nonFinite > 0
      ? `<p class="warning" role="alert">${count(nonFinite)} tokens hold NaN or infinite features and are left out of every plot.</p>`
      : "";
  return `<div class="shares"><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">${bars.join("")}</svg><ul aria-label="Tokens per modality">${legend.join("")}</ul></div>${warning}`;
}

/** Run options, folded away at the end of the page. */
export function options({ meta }: PageContent): string {
  const rows = Object.entries(meta.options).slice(0, MAX_OPTIONS);
  if (rows.length === 0) return "";
  const cells = rows.map(([name, value]) => {
    const shown = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
    return `<tr><th scope="row">${user(name, 80)}</th><td><code>${user(shown, 400)}</code></td></tr>`;
  });
  return `<section class="card"><details><summary><h2>Run options</h2></summary><div class="scroll"><table><tbody>${cells.join("")}</tbody></table></div></details></section>`;
}
