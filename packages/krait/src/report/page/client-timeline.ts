/** Frames, lines of text, the cursor, zoom and keys. Runs in the page. */
export const clientTimeline = `
const tracks = byId("tracks");
const ruler = byId("ruler");
const plotWidth = () => ruler.getBoundingClientRect().width;
const toX = (time) => ((time - view.from) / span()) * plotWidth();
const toTime = (clientX) => {
  const box = ruler.getBoundingClientRect();
  return clamp(view.from + ((clientX - box.left) / box.width) * span(), view.from, view.to);
};

const setCursor = (time) => {
  view.cursor = clamp(time, 0, duration);
  if (view.cursor < view.from || view.cursor > view.to) zoomTo(view.cursor - span() / 2, view.cursor + span() / 2);
  redraw(1);
};
const zoomTo = (from, to) => {
  const least = Math.min(duration, Math.max(page.bin * 4, 0.05));
  const length = clamp(to - from, least, duration);
  view.from = clamp((from + to) / 2 - length / 2, 0, duration - length);
  view.to = view.from + length;
  byId("reset").hidden = length >= duration;
  redraw(2);
};

if (tracks) {
  tracks.tabIndex = 0;
  const described = { role: "slider", "aria-label": "Time cursor", "aria-valuemin": "0", "aria-valuemax": String(duration) };
  for (const [name, value] of Object.entries(described)) tracks.setAttribute(name, value);
  painters.push(() => {
    const strip = byId("thumbs");
    if (!strip) return;
    const width = plotWidth(), height = strip.getBoundingClientRect().height;
    // As many frames as can be recognised, each at its start and cut where the next one begins.
    const shown = [];
    for (const frame of frames) {
      const x = toX(frame.start), size = (height * frame.image.width) / frame.image.height;
      const last = shown.at(-1);
      frame.figure.hidden = x >= width || (last !== undefined && x < last.x + 0.7 * last.size);
      if (!frame.figure.hidden) shown.push({ frame, x, size });
    }
    for (const [i, { frame: { figure }, x, size }] of shown.entries()) {
      const next = shown[i + 1];
      figure.style.left = x + "px";
      figure.style.width = Math.min(size, next ? next.x - x - 2 : size) + "px";
    }
  });

  const lane = byId("cues");
  const lines = lane ? page.cues.map((cue) => {
    const element = document.createElement("div");
    element.setAttribute("role", "listitem");
    element.textContent = element.title = cue.text;
    lane.append(element);
    return { cue, element };
  }) : [];
  if (lane) painters.push(() => {
    const width = plotWidth();
    for (const { cue, element } of lines) {
      const left = toX(cue.start), size = Math.max(2, toX(cue.end) - left - 1);
      element.hidden = left > width || left + size < 0;
      element.style.left = left + "px";
      element.style.width = size + "px";
      element.classList.toggle("thin", size < 22);
      element.textContent = size < 22 ? "" : cue.text;
    }
  });

  let pointed = null;
  followers.push(() => {
    const time = shownTime();
    byId("cursor").style.left = toX(view.cursor) + "px";
    const hover = byId("hover");
    hover.hidden = view.hover === null;
    if (view.hover !== null) hover.style.left = toX(view.hover) + "px";
    byId("now-time").textContent = clock(time, clockDigits()) + " / " + clock(duration, 0);
    showFrame(byId("preview"), time);
    let words = "";
    for (const { cue, element } of lines) {
      const on = cue.start <= time && time < cue.end;
      element.classList.toggle("on", on);
      if (on) words = cue.text;
    }
    byId("now-cue").textContent = words;
    const facts = byId("now-facts");
    facts.replaceChildren();
    const say = (kind, ...pairs) => {
      const element = document.createElement("span");
      element.className = kind;
      for (const [text, value] of pairs) {
        const strong = document.createElement("b");
        strong.textContent = value;
        element.append(text + " ", strong, "  ");
      }
      facts.append(element);
    };
    const bin = Math.min(page.bins - 1, Math.floor(time / page.bin));
    if (pointed && heats[pointed.code]) {
      const { data, heat } = heats[pointed.code];
      const row = clamp(Math.floor(pointed.y * data.dims.length), 0, data.dims.length - 1);
      const value = valueAt(heat, row * page.bins + bin);
      say(names[data.code], [names[data.code] + " feature " + data.dims[row], value === value ? (value > 0 ? "+" : "") + value.toFixed(1) + " σ" : "no token"]);
    } else for (const { data, change, norm, text } of page.tracks.map(({ code }) => heats[code])) {
      const size = valueAt(norm, bin), step = valueAt(change, bin), close = text ? valueAt(text, bin) : NaN;
      if (size !== size) continue;
      const pairs = [[names[data.code] + " norm", short(size)]];
      if (step === step) pairs.push(["change", short(step)]);
      if (close === close) pairs.push(["to text", close.toFixed(2)]);
      say(names[data.code], ...pairs);
    }
    tracks.setAttribute("aria-valuenow", view.cursor.toFixed(2));
    tracks.setAttribute("aria-valuetext", clock(view.cursor, 1) + (words ? ", " + words : ""));
  });

  let drag = null;
  const onPlot = (event) => event.clientX >= ruler.getBoundingClientRect().left - 4;
  tracks.addEventListener("pointerdown", (event) => {
    if (event.button || !onPlot(event)) return;
    drag = { x: event.clientX, time: toTime(event.clientX), wide: false };
    if (event.pointerType === "mouse") tracks.setPointerCapture(event.pointerId);
  });
  tracks.addEventListener("pointermove", (event) => {
    if (!onPlot(event)) { if (!drag) { view.hover = pointed = null; redraw(1); } return; }
    const time = toTime(event.clientX);
    const heat = event.target.id && event.target.id.startsWith("heat-") ? event.target : null;
    pointed = heat ? { code: heat.id.slice(5), y: event.offsetY / heat.clientHeight } : null;
    if (drag && event.pointerType !== "mouse") { setCursor(time); return; }
    view.hover = time;
    if (drag && Math.abs(event.clientX - drag.x) > 6) drag.wide = true;
    const selection = byId("selection");
    selection.hidden = !(drag && drag.wide);
    if (drag && drag.wide) {
      const [a, b] = [toX(drag.time), toX(time)].sort((p, q) => p - q);
      selection.style.left = a + "px";
      selection.style.width = b - a + "px";
    }
    redraw(1);
  });
  tracks.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const time = toTime(event.clientX), { wide, time: begin } = drag;
    drag = null;
    byId("selection").hidden = true;
    if (wide) zoomTo(Math.min(begin, time), Math.max(begin, time));
    else setCursor(time);
  });
  tracks.addEventListener("pointercancel", () => { drag = null; byId("selection").hidden = true; });
  tracks.addEventListener("pointerleave", () => { if (!drag) { view.hover = pointed = null; redraw(1); } });
  tracks.addEventListener("dblclick", () => zoomTo(0, duration));
  // Plain scrolling stays the page's; with Ctrl (which a pinch on a trackpad sends too) the wheel zooms, sideways it pans.
  tracks.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const time = toTime(event.clientX), factor = Math.exp(clamp(event.deltaY, -60, 60) * 0.01);
      zoomTo(time - (time - view.from) * factor, time + (view.to - time) * factor);
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && span() < duration) {
      event.preventDefault();
      const move = (event.deltaX / plotWidth()) * span();
      zoomTo(view.from + move, view.to + move);
    }
  }, { passive: false });
  tracks.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.max(page.bin, span() / 500) * (event.shiftKey ? 10 : 1);
    const about = (factor) => zoomTo(view.cursor - (view.cursor - view.from) * factor, view.cursor + (view.to - view.cursor) * factor);
    const keys = {
      ArrowLeft: () => setCursor(view.cursor - step), ArrowRight: () => setCursor(view.cursor + step),
      ArrowDown: () => setCursor(view.cursor - step), ArrowUp: () => setCursor(view.cursor + step),
      PageDown: () => setCursor(view.cursor - span() / 10), PageUp: () => setCursor(view.cursor + span() / 10),
      Home: () => setCursor(0), End: () => setCursor(duration),
      "+": () => about(0.5), "=": () => about(0.5), "-": () => about(2), Escape: () => zoomTo(0, duration),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    view.hover = null;
    keys[event.key]();
  });
  byId("reset").addEventListener("click", () => zoomTo(0, duration));
}
`;
