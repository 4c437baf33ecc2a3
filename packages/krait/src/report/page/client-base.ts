/** Shared by all plots: the data, the view, colours and small helpers. Runs in the page. */
export const clientBase = `
const root = document.documentElement;
root.classList.add("js");
// A page without a server has nowhere to report to: what goes wrong is left where a reader (or a test) can find it.
const failed = (message) => { root.dataset.error = String(message); };
addEventListener("error", (event) => failed(event.message));
addEventListener("unhandledrejection", (event) => failed(event.reason));
addEventListener("securitypolicyviolation", (event) => failed("blocked " + event.violatedDirective));

const byId = (id) => document.getElementById(id);
const page = JSON.parse(byId("data").textContent);
const duration = page.duration;
const decode = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const unpack = (packed) => packed && { lo: packed.lo, hi: packed.hi, codes: decode(packed.data) };
/** The number behind a code; NaN where there is none. */
const valueAt = (packed, index) => {
  const code = packed.codes[index];
  return code ? packed.lo + ((code - 1) / 254) * (packed.hi - packed.lo) : NaN;
};
const names = { 0: "text", 1: "audio", 2: "video", all: "all" };

const view = { from: 0, to: duration, cursor: 0, hover: null };
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const shownTime = () => view.hover ?? view.cursor;

const clock = (seconds, digits) => {
  const unit = 10 ** digits;
  const total = Math.floor(seconds * unit + 1e-6) / unit;
  const h = Math.floor(total / 3600), m = Math.floor((total % 3600) / 60);
  const s = (total % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return h ? h + ":" + String(m).padStart(2, "0") + ":" + s : m + ":" + s;
};
const clockDigits = () => (view.to - view.from > 600 ? 1 : 2);
const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(2) : value.toFixed(3));

const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
/** Round times from a to b, at most about "most" of them. */
const ticks = (from, to, most) => {
  const step = steps.find((candidate) => (to - from) / candidate <= most) ?? (to - from) / most;
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  const out = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + 1e-9; i++) out.push({ time: i * step, label: clock(i * step, digits) });
  return out;
};

const dark = matchMedia("(prefers-color-scheme: dark)");
const hex = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
/** 256 colours through the given stops. */
const ramp = (stops) => {
  const colours = stops.map(hex);
  const out = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const x = (i / 255) * (colours.length - 1), low = Math.min(colours.length - 2, Math.floor(x));
    for (let c = 0; c < 3; c++) out[i * 3 + c] = Math.round(colours[low][c] + (x - low) * (colours[low + 1][c] - colours[low][c]));
  }
  return out;
};
const palettes = {
  light: { diverging: ramp(["#1c4f9c", "#4f8fd0", "#b5d3ec", "#f4f3f1", "#f6cfae", "#e08a4f", "#a8451a"]), sequential: ramp(["#f4f6fb", "#d3e2f2", "#9ec6e3", "#57a0cc", "#2a6fb0", "#1d4385", "#141f52"]) },
  dark: { diverging: ramp(["#8fc4ff", "#4a8fdc", "#27527f", "#1d2229", "#7d4526", "#db7f42", "#ffc79a"]), sequential: ramp(["#12161d", "#17304f", "#1a5379", "#1c7d92", "#3fae9b", "#a0d99a", "#fbf3b0"]) },
};
const palette = () => (dark.matches ? palettes.dark : palettes.light);
const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

/** Sizes a canvas to its box and clears it; drawing is in CSS pixels. */
const fit = (canvas) => {
  const box = canvas.getBoundingClientRect();
  const scale = Math.min(3, devicePixelRatio || 1);
  const width = Math.max(1, Math.round(box.width)), height = Math.max(1, Math.round(box.height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.font = "12px " + getComputedStyle(document.body).fontFamily;
  return { context, width, height };
};
/** An image of width x height whose pixels take the colours that "pick" returns (a ramp index, or -1 for none). */
const raster = (width, height, colours, pick) => {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0, at = 0; y < height; y++) for (let x = 0; x < width; x++, at += 4) {
    const index = pick(x, y);
    if (index < 0) continue;
    image.data[at] = colours[index * 3];
    image.data[at + 1] = colours[index * 3 + 1];
    image.data[at + 2] = colours[index * 3 + 2];
    image.data[at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
};

const frames = [...document.querySelectorAll("#thumbs figure")].map((figure) => ({
  figure, image: figure.querySelector("img"), start: Number(figure.dataset.start), end: Number(figure.dataset.end),
}));
const frameAt = (time) => {
  let found = null;
  for (const frame of frames) if (!found || Math.abs(frame.start - time) < Math.abs(found.start - time)) found = frame;
  return found;
};
/** Shows the frame nearest to a time in a box. */
const showFrame = (box, time) => {
  const frame = frameAt(time);
  if (!frame) return null;
  const image = box.firstChild ?? box.appendChild(document.createElement("img"));
  if (image.src !== frame.image.src) image.src = frame.image.src;
  image.alt = frame.image.alt;
  return frame;
};

const painters = [], followers = [];
let pending = 0;
/** Draws on the next frame: everything, or only what follows the cursor. */
const redraw = (level) => {
  if (!pending) requestAnimationFrame(() => {
    const all = pending > 1;
    pending = 0;
    if (all) for (const paint of painters) paint();
    for (const follow of followers) follow();
    root.dataset.drawn = "yes";
  });
  pending = Math.max(pending, level);
};
`;
