import { modalityCode } from "../binning.js";
import { escapeHtml } from "../escape.js";
import type { Thumbnail } from "../thumbnails.js";
import type { PageContent } from "./document.js";
import { brief, clock, count } from "./format.js";

const NAMES: Record<number, string> = {
  [modalityCode.text]: "text",
  [modalityCode.audio]: "audio",
  [modalityCode.video]: "video",
};

/** One row of the timeline: what it is on the left, its plot on the shared axis. */
function track(kind: string, name: string, note: string, plot: string, classes = ""): string {
  return `<div class="track ${kind} ${classes}" data-kind="${kind}"><div class="label"><b>${name}</b>${note ? `<span>${note}</span>` : ""}</div><div class="plot">${plot}</div></div>`;
}

function canvas(id: string, label: string): string {
  return `<canvas id="${id}" role="img" aria-label="${escapeHtml(label)}"></canvas>`;
}

function thumbnail({ start, end, width, height, jpeg }: Thumbnail): string {
  const at = clock(start, true);
  return `<figure data-start="${start}" data-end="${end}"><img src="data:image/jpeg;base64,${jpeg.toString("base64")}" width="${width}" height="${height}" alt="Frame at ${at}"><figcaption>${at}</figcaption></figure>`;
}

/** The tracks, all on one time axis. Without a script only the thumbnails show, as a plain sheet. */
export function timeline({ data, thumbnails, cueCount, dim }: PageContent): string {
  const frames = `<div class="thumbs" id="thumbs">${thumbnails.map(thumbnail).join("")}</div>`;
  if (!(data.duration > 0)) {
    const note = `<p class="note">Nothing in this run has a length in time, so there is no time axis to draw.</p>`;
    return `<section class="card" aria-labelledby="timeline-title"><h2 id="timeline-title">Timeline</h2>${note}${thumbnails.length > 0 ? frames : ""}</section>`;
  }
  const rows = [track("ruler", "Time", "", canvas("ruler", "Time axis"), "scripted")];
  if (thumbnails.length > 0) rows.push(track("frames", "Frames", "at their start", frames));
  if (data.wave) {
    const peak = data.wave.peak > 0 ? `peak ${brief(data.wave.peak)}` : "silence";
    rows.push(track("wave", "Sound", peak, canvas("wave", "Waveform: extremes and loudness over time"), "scripted"));
  }
  if (data.cues.length > 0) {
    const shown = data.cues.length < cueCount ? `${count(data.cues.length)} of ${count(cueCount)}` : count(cueCount);
    rows.push(track("cues", "Lines", shown, `<div id="cues" role="list" aria-label="Timed text"></div>`, "scripted"));
  }
  for (const { code, dims, change, norm, text } of data.tracks) {
    const name = NAMES[code]!;
    const title = `${name[0]!.toUpperCase()}${name.slice(1)} features`;
    rows.push(
      track(
        `heat ${name}`,
        `${name[0]!.toUpperCase()}${name.slice(1)}`,
        dims.length < dim ? `${dims.length} of ${dim} features, those that vary most` : `${dim} features`,
        canvas(`heat-${code}`, `${title}: ${dims.length} features over time, in standard deviations`),
        "scripted",
      ),
      track(
        `curve ${name}`,
        `<i class="area"></i>Change ≤ ${brief(change.hi)}`,
        `<i class="line"></i>Norm ${brief(norm.lo)}–${brief(norm.hi)}`,
        canvas(`curve-${code}`, `${title}: change between neighbouring times, and norm`),
        "scripted",
      ),
    );
    if (text)
      rows.push(
        track(
          "curve closeness",
          "Closeness to text",
          `of ${name}, ${text.lo.toFixed(2)}–${text.hi.toFixed(2)}`,
          canvas(`text-${code}`, `Cosine similarity of the ${name} features to the untimed text`),
          "scripted",
        ),
      );
  }
  if (data.similarity)
    rows.push(
      track(
        "like",
        "Like the cursor",
        `<span id="like-of"></span>`,
        canvas("like", "Similarity of every time to the time of the cursor"),
        "scripted",
      ),
    );
  return `<section class="card timeline" aria-labelledby="timeline-title">
<div class="card-head"><h2 id="timeline-title">Timeline</h2><p class="hint scripted">Click to set the cursor, drag to zoom, arrow keys to step.</p><button type="button" id="reset" class="scripted" hidden>Show all</button></div>
<div class="readout scripted" id="readout"><div class="preview" id="preview"></div><div class="now"><output id="now-time" aria-live="off"></output><span id="now-cue"></span></div><p id="now-facts"></p></div>
<div class="tracks" id="tracks">
${rows.join("\n")}
<div class="overlay scripted" aria-hidden="true"><div id="selection" hidden></div><div id="hover" hidden></div><div id="cursor"></div></div>
</div>
<noscript><p class="note">The plots below the frames are drawn by a script in this file, which did not run.</p></noscript>
</section>`;
}

/** The similarity matrix with its switches. */
export function matrix({ data }: PageContent): string {
  if (!data.similarity) return "";
  const { views } = data.similarity;
  const names = views.map(({ of }) => (of === "all" ? "all" : NAMES[of]!));
  const buttons = names.map(
    (name, i) =>
      `<label><input type="radio" name="view" value="${i}"${i === 0 ? " checked" : ""}><span>${name[0]!.toUpperCase()}${name.slice(1)}</span></label>`,
  );
  return `<section class="card matrix scripted" aria-labelledby="matrix-title">
<div class="card-head"><h2 id="matrix-title">Every time against every other</h2>
<div class="switches"><fieldset class="segmented"><legend>Features</legend>${buttons.join("")}</fieldset>
<fieldset class="segmented"><legend>Measure</legend><label><input type="radio" name="measure" value="centred" checked><span>Mean removed</span></label><label><input type="radio" name="measure" value="raw"><span>Cosine</span></label></fieldset></div></div>
<div class="matrix-body"><div class="square"><canvas id="matrix" tabindex="0" role="img" aria-label="Similarity matrix: cosine similarity of the features of two times. Arrow keys move the pair, Enter sets the cursor."></canvas></div>
<aside><div class="pair"><figure><div id="pair-a"></div><figcaption><b id="pair-a-time"></b><span id="pair-a-frame"></span></figcaption></figure><figure><div id="pair-b"></div><figcaption><b id="pair-b-time"></b><span id="pair-b-frame"></span></figcaption></figure></div>
<p class="value"><output id="pair-value" aria-live="polite"></output><span>cosine similarity</span></p>
<div class="legend"><canvas id="legend" role="img" aria-label="Colour scale"></canvas><div><span id="legend-lo"></span><span id="legend-hi"></span></div></div>
<p class="note" id="measure-note"></p></aside></div>
</section>`;
}

/** The untimed text that went in. */
export function texts({ passages, passageCount, untimedTokens }: PageContent): string {
  if (passages.length === 0) return "";
  const blocks = passages.map(({ source, excerpt, characters }) => {
    const size = `${count(characters)} characters`;
    const head = source ? `<bdi>${escapeHtml(source)}</bdi> · ${size}` : size;
    return `<figure><figcaption>${head}</figcaption><blockquote>${escapeHtml(excerpt)}</blockquote></figure>`;
  });
  const more =
    passageCount > passages.length ? `<p class="note">and ${count(passageCount - passages.length)} more texts</p>` : "";
  const tokens = untimedTokens > 0 ? `<p class="hint">${count(untimedTokens)} tokens, not placed in time</p>` : "";
  return `<section class="card texts" aria-labelledby="texts-title"><div class="card-head"><h2 id="texts-title">Text</h2>${tokens}</div>${blocks.join("")}${more}</section>`;
}
