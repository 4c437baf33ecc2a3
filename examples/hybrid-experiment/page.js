const box = { width: 480, height: 330, left: 62, right: 16, top: 34, bottom: 44 };
const colours = ["#0b7285", "#e8590c", "#c2255c", "#5f3dc4", "#868e96"];

/** One self-contained page: a chart each of time, memory and state against length, and the numbers below. */
export function drawPage(results, { width }) {
  const layouts = [...new Set(results.map(({ layout }) => layout))];
  const legend = layouts.map((name, i) => `<li><b style="background:${colours[i]}"></b>${name}</li>`);
  const rows = results.map(({ layout, tokens, seconds, peakBytes, stateBytes }) => {
    const cells = [tokens.toLocaleString("en-US"), seconds.toFixed(3), megabytes(peakBytes), megabytes(stateBytes)];
    return `<tr><td>${layout}${cells.map((cell) => `<td class="number">${cell}`).join("")}`;
  });
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Layouts against length</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #222; background: #fff }
h1 { font-size: 1.4rem } svg { width: 100%; height: auto }
ul { display: flex; gap: .3rem 1.6rem; list-style: none; flex-wrap: wrap; padding: 0 }
li b { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px }
table { border-collapse: collapse } td, th { padding: .1rem 1.4rem .1rem 0; text-align: left } .number { text-align: right }
</style>
<h1>Layouts against length</h1>
<p>Eight mixers of width ${width} each, random weights, text as bytes, chunks of 512 tokens, one sequence; a process for each point,
of short runs the fastest of five. Both
axes are logarithmic: time that grows with the length is a straight line, and twice as steep a one grows with its square.</p>
<ul>${legend.join("")}</ul>
${drawCharts(results, layouts)}
<table><tr><th>layout<th>tokens<th>seconds<th>peak MB<th>state MB
${rows.join("\n")}
</table></html>
`;
}

function drawCharts(results, layouts) {
  const charts = [
    { title: "seconds", value: ({ seconds }) => seconds },
    { title: "microseconds per token", value: ({ seconds, tokens }) => (seconds * 1e6) / tokens },
    { title: "state of the sequence, MB", value: ({ stateBytes }) => stateBytes / 2 ** 20 },
    { title: "peak memory of the process, MB", value: ({ peakBytes }) => peakBytes / 2 ** 20 },
  ].map(({ title, value }, i) => {
    const place = `translate(${(i % 2) * box.width} ${Math.floor(i / 2) * box.height})`;
    return `<g transform="${place}">${chart(title, results, layouts, value)}</g>`;
  });
  const size = `viewBox="0 0 ${2 * box.width} ${2 * box.height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="system-ui, sans-serif" font-size="13">${charts.join("\n")}</svg>`;
}

function chart(title, results, layouts, value) {
  const [left, right, bottom] = [box.left, box.width - box.right, box.height - box.bottom];
  const lengths = results.map(({ tokens }) => tokens);
  const x = scale(lengths, left, right);
  const y = scale(results.map(value), bottom, box.top);
  const lines = layouts.map((layout, i) => {
    const points = results
      .filter((result) => result.layout === layout)
      .map((result) => `${x.at(result.tokens)},${y.at(value(result))}`);
    const dots = points.map((point) => `<circle r="3.5" cx="${point.replace(",", '" cy="')}"/>`);
    return `<g fill="${colours[i]}" stroke="${colours[i]}" stroke-width="2"><polyline fill="none" points="${points.join(" ")}"/>${dots.join("")}</g>`;
  });
  const grid = y.ticks.map((tick) => {
    const text = `<text x="${left - 8}" y="${y.at(tick) + 4}" text-anchor="end">${short(tick)}</text>`;
    return `<path d="M${left} ${y.at(tick)}H${right}" stroke="#e9ecef"/>${text}`;
  });
  const along = [...new Set(lengths)].map(
    (n) => `<text x="${x.at(n)}" y="${bottom + 20}" text-anchor="middle">${n % 1024 ? n : `${n / 1024}k`}</text>`,
  );
  const axis = `<path d="M${left} ${bottom}H${right}" stroke="#868e96"/>`;
  const words = `<text x="${left}" y="18" font-weight="600">${title}</text><text x="${right}" y="${bottom + 38}" text-anchor="end" fill="#868e96">tokens</text>`;
  return `${words}${grid.join("")}${axis}${along.join("")}${lines.join("")}`;
}

/** Logarithmic, with ticks at the powers of ten and, where those are few, between them. */
function scale(values, from, to) {
  const low = Math.min(...values) / 1.2;
  const high = Math.max(...values) * 1.2;
  const at = (v) => Number((from + (Math.log(v / low) / Math.log(high / low)) * (to - from)).toFixed(1));
  const powers = Array.from({ length: 30 }, (_, i) => 10 ** (i - 12));
  const steps = high / low > 500 ? [1] : high / low > 5 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const ticks = powers.flatMap((power) => steps.map((step) => step * power)).filter((t) => t >= low && t <= high);
  return { at, ticks };
}

function short(value) {
  return value >= 1 ? value.toLocaleString("en-US") : String(Number(value.toPrecision(2)));
}

function megabytes(bytes) {
  return (bytes / 2 ** 20).toFixed(2);
}
