/** Draws the tracks of the timeline. Runs in the page. */
export const clientTracks = `
const span = () => view.to - view.from;
const track = (id, draw) => {
  const canvas = byId(id);
  if (canvas) painters.push(() => { const { context, width, height } = fit(canvas); draw(context, width, height); });
};
/** For each pixel column the bins under it, first and last. */
const columns = (width, bin, bins, visit) => {
  for (let x = 0; x < width; x++) {
    const first = Math.floor((view.from + (x / width) * span()) / bin);
    const last = Math.max(first, Math.ceil((view.from + ((x + 1) / width) * span()) / bin) - 1);
    if (first < bins) visit(x, first, Math.min(bins - 1, last));
  }
};

track("ruler", (context, width, height) => {
  context.fillStyle = colour("muted");
  context.strokeStyle = colour("line");
  context.textBaseline = "top";
  for (const { time, label } of ticks(view.from, view.to, Math.max(2, width / 84))) {
    const x = ((time - view.from) / span()) * width;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, height - 5);
    context.lineTo(Math.round(x) + 0.5, height);
    context.stroke();
    const half = context.measureText(label).width / 2;
    context.fillText(label, clamp(x - half, 0, width - 2 * half), 3);
  }
});

if (page.wave) {
  const wave = page.wave;
  const range = { lo: -(wave.peak || 1), hi: wave.peak || 1 };
  const [low, high, loud] = [wave.min, wave.max, wave.rms].map((data) => ({ ...range, codes: decode(data) }));
  track("wave", (context, width, height) => {
    const middle = height / 2, unit = (height / 2 - 1) / (wave.peak || 1);
    const bars = (alpha, bottomOf, topOf) => {
      context.globalAlpha = alpha;
      context.beginPath();
      columns(width, wave.bin, wave.bins, (x, first, last) => {
        let bottom = Infinity, top = -Infinity;
        for (let i = first; i <= last; i++) {
          const b = bottomOf(i), t = topOf(i);
          if (b < bottom) bottom = b;
          if (t > top) top = t;
        }
        if (top < bottom) return;
        context.rect(x, middle - top * unit - 0.4, 1, (top - bottom) * unit + 0.8);
      });
      context.fill();
    };
    context.fillStyle = colour("audio");
    bars(0.38, (i) => valueAt(low, i), (i) => valueAt(high, i));
    bars(1, (i) => -valueAt(loud, i), (i) => valueAt(loud, i));
    context.globalAlpha = 1;
  });
}

const heats = {};
for (const data of page.tracks) {
  const heat = unpack(data.heat), change = unpack(data.change), norm = unpack(data.norm), text = unpack(data.text);
  const rows = data.dims.length;
  heats[data.code] = { data, heat, change, norm, text };
  let image = null, forDark = null;
  track("heat-" + data.code, (context, width, height) => {
    if (forDark !== dark.matches) {
      forDark = dark.matches;
      image = raster(page.bins, rows, palette().diverging, (x, y) => {
        const code = heat.codes[y * page.bins + x];
        return code ? Math.min(255, Math.round(((code - 1) / 254) * 255)) : -1;
      });
    }
    const left = view.from / page.bin, right = Math.min(page.bins, view.to / page.bin);
    if (right <= left) return;
    // Enlarged bins keep their edges; shrunken ones are averaged.
    context.imageSmoothingEnabled = right - left > width;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, left, 0, right - left, rows, 0, 0, ((right * page.bin - view.from) / span()) * width, height);
  });

  track("curve-" + data.code, (context, width, height) => {
    const ink = colour(names[data.code]);
    const base = height - 1;
    context.fillStyle = colour("line");
    context.fillRect(0, base, width, 1);
    context.fillStyle = ink;
    context.globalAlpha = 0.6;
    const top = change.hi || 1;
    columns(width, page.bin, page.bins, (x, first, last) => {
      let most = 0;
      for (let i = first; i <= last; i++) most = Math.max(most, valueAt(change, i) || 0);
      // A step lives in one bin; drawn a little wider, it can be seen.
      if (most > 0) context.fillRect(x - 0.5, base - (most / top) * (height - 4), 2, (most / top) * (height - 4));
    });
    context.globalAlpha = 1;
    line(context, width, height, norm, ink);
  });

  if (text) track("text-" + data.code, (context, width, height) => {
    context.fillStyle = colour("line");
    context.fillRect(0, height - 1, width, 1);
    line(context, width, height, text, colour("text"));
  });
}

/** One value per bin as a line over its own range; gaps stay gaps. */
function line(context, width, height, packed, ink) {
  const range = packed.hi - packed.lo;
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  let drawing = false;
  columns(width, page.bin, page.bins, (x, first, last) => {
    let sum = 0, count = 0;
    for (let i = first; i <= last; i++) {
      const value = valueAt(packed, i);
      if (value === value) { sum += value; count++; }
    }
    if (!count) { drawing = false; return; }
    const share = range > 0 ? (sum / count - packed.lo) / range : 0.5;
    const y = height - 4 - share * (height - 8);
    if (drawing) context.lineTo(x + 0.5, y);
    else context.moveTo(x + 0.5, y);
    drawing = true;
  });
  context.stroke();
}
`;
