/** The similarity matrix, the row of the cursor in the timeline, and the start of it all. Runs in the page. */
export const clientMatrix = `
const similarity = page.similarity;
if (similarity) {
  const { side, width: step } = similarity;
  const pick = { view: 0, measure: "centred" };
  const cell = (i, j) => (i >= j ? (i * (i + 1)) / 2 + j : (j * (j + 1)) / 2 + i);
  const at = (time) => clamp(Math.floor(time / step), 0, side - 1);
  const cache = new Map();
  /** Codes, and the range of colours: without the outer hundredths, or one odd pair would grey out all others. */
  const current = () => {
    const key = pick.view + pick.measure;
    if (!cache.has(key)) {
      const packed = unpack(similarity.views[pick.view][pick.measure]);
      const counts = new Float64Array(256);
      for (let i = 0; i < side; i++) for (let j = 0; j < i; j++) counts[packed.codes[cell(i, j)]]++;
      counts[0] = 0;
      const total = counts.reduce((sum, count) => sum + count, 0);
      const quantile = (share) => {
        let sum = 0;
        for (let code = 1; code < 256; code++) { sum += counts[code]; if (sum >= share * total) return code; }
        return 255;
      };
      const low = total ? quantile(0.01) : 1, high = total ? Math.max(low + 1, quantile(0.995)) : 255;
      cache.set(key, { packed, low, high });
    }
    return cache.get(key);
  };
  const shade = ({ packed, low, high }, index) => {
    const code = packed.codes[index];
    return code ? Math.round(clamp((code - low) / (high - low), 0, 1) * 255) : -1;
  };

  const canvas = byId("matrix");
  const left = 46, bottom = 22;
  let image = null, imageKey = "", square = 1, hovered = null, chosen = null;
  const painter = () => {
    const { context, width } = fit(canvas);
    square = width - left;
    const plot = Math.min(square, canvas.clientHeight - bottom);
    square = plot;
    const key = pick.view + pick.measure + dark.matches;
    if (imageKey !== key) {
      imageKey = key;
      const shown = current();
      image = raster(side, side, palette().sequential, (x, y) => shade(shown, cell(y, x)));
    }
    context.save();
    context.beginPath();
    if (context.roundRect) context.roundRect(left, 0, plot, plot, 6);
    else context.rect(left, 0, plot, plot);
    context.clip();
    context.fillStyle = colour("sunken");
    context.fillRect(left, 0, plot, plot);
    const scale = plot / (duration / step);
    context.imageSmoothingEnabled = side * 1.2 > plot * (devicePixelRatio || 1);
    context.drawImage(image, left, 0, side * scale, side * scale);
    const lines = (a, b, ink, dash) => {
      context.strokeStyle = ink;
      context.setLineDash(dash);
      context.beginPath();
      const x = left + (a / duration) * plot, y = (b / duration) * plot;
      context.moveTo(x, 0); context.lineTo(x, plot);
      context.moveTo(left, y); context.lineTo(left + plot, y);
      context.stroke();
    };
    lines(view.cursor, view.cursor, colour("cursor"), []);
    const pair = hovered ?? chosen;
    if (pair) lines(pair.a, pair.b, colour("ink"), [3, 3]);
    context.restore();
    context.fillStyle = colour("muted");
    for (const { time, label } of ticks(0, duration, Math.max(2, plot / 90))) {
      const p = (time / duration) * plot, size = context.measureText(label).width;
      context.textBaseline = "top";
      context.fillText(label, clamp(left + p - size / 2, left, left + plot - size), plot + 7);
      context.textBaseline = "middle";
      context.fillText(label, left - 8 - size, clamp(p, 7, plot - 7));
    }
  };

  /** The time most like the cursor's that is not simply next to it. */
  const farTwin = () => {
    const { packed } = current(), i = at(view.cursor), apart = Math.max(2, side * 0.06);
    let best = -1, found = i;
    for (let j = 0; j < side; j++) if (Math.abs(i - j) >= apart && packed.codes[cell(i, j)] > best) { best = packed.codes[cell(i, j)]; found = j; }
    return Math.min(duration, (found + 0.5) * step);
  };
  const describe = () => {
    const pair = hovered ?? chosen;
    const a = pair ? pair.a : view.cursor, b = pair ? pair.b : farTwin();
    for (const [id, time] of [["pair-a", a], ["pair-b", b]]) {
      const frame = showFrame(byId(id), time);
      byId(id + "-time").textContent = clock(time, clockDigits());
      byId(id + "-frame").textContent = frame ? "frame at " + clock(frame.start, 1) : "";
    }
    const value = valueAt(current().packed, cell(at(a), at(b)));
    byId("pair-value").textContent = value === value ? value.toFixed(3) : "no token";
    byId("measure-note").textContent =
      (pick.measure === "raw" ? "Cosine of the pooled features of two times. " : "Cosine after the mean over all time is removed, so that what differs shows. ") +
      (similarity.views[pick.view].of === "all" ? "All: modalities weigh alike. " : "") +
      (pair ? "Click to bring the cursor here." : "The cursor, and the time elsewhere that is most like it.");
  };
  const legend = () => {
    const { context, width, height } = fit(byId("legend"));
    const strip = raster(256, 1, palette().sequential, (x) => x);
    context.drawImage(strip, 0, 0, width, height);
    const { packed, low, high } = current();
    const number = (code) => (packed.lo + ((code - 1) / 254) * (packed.hi - packed.lo)).toFixed(2);
    byId("legend-lo").textContent = number(low) + " or less";
    byId("legend-hi").textContent = number(high) + " or more";
  };
  const like = () => {
    const { context, width, height } = fit(byId("like"));
    const shown = current(), row = at(view.cursor);
    const strip = raster(side, 1, palette().sequential, (x) => shade(shown, cell(row, x)));
    const from = view.from / step, to = Math.min(side, view.to / step);
    if (to <= from) return;
    context.imageSmoothingEnabled = to - from > width;
    context.drawImage(strip, from, 0, to - from, 1, 0, 0, ((to * step - view.from) / span()) * width, height);
    byId("like-of").textContent = "by " + (names[similarity.views[pick.view].of] === "all" ? "all features" : names[similarity.views[pick.view].of]);
  };
  if (!frames.length) document.querySelector(".pair").classList.add("bare");
  painters.push(legend);
  followers.push(painter, describe, like);

  const pairAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - left) / square, y = (event.clientY - box.top) / square;
    return x < 0 || x > 1 || y < 0 || y > 1 ? null : { a: x * duration, b: y * duration };
  };
  canvas.addEventListener("pointermove", (event) => { hovered = pairAt(event); chosen = null; redraw(1); });
  canvas.addEventListener("pointerleave", () => { hovered = null; redraw(1); });
  canvas.addEventListener("click", (event) => {
    const pair = pairAt(event);
    if (pair) { view.hover = null; setCursor(pair.a); }
  });
  canvas.addEventListener("keydown", (event) => {
    const pair = chosen ?? { a: view.cursor, b: view.cursor };
    const move = step * (event.shiftKey ? 10 : 1);
    const keys = { ArrowLeft: [-move, 0], ArrowRight: [move, 0], ArrowUp: [0, -move], ArrowDown: [0, move] };
    if (keys[event.key]) {
      event.preventDefault();
      chosen = { a: clamp(pair.a + keys[event.key][0], 0, duration), b: clamp(pair.b + keys[event.key][1], 0, duration) };
    } else if (event.key === "Enter" && chosen) setCursor(chosen.a);
    else if (event.key === "Escape") chosen = null;
    else return;
    redraw(1);
  });
  for (const input of document.querySelectorAll(".segmented input")) input.addEventListener("change", () => {
    if (input.name === "view") pick.view = Number(input.value);
    else pick.measure = input.value;
    redraw(2);
  });
}

if (duration > 0) {
  const asked = /^#t=([0-9.]+)$/.exec(location.hash);
  if (asked) view.cursor = clamp(Number(asked[1]) || 0, 0, duration);
  dark.addEventListener("change", () => redraw(2));
  new ResizeObserver(() => redraw(2)).observe(tracks);
  redraw(2);
}
root.dataset.ready = "yes";
`;
