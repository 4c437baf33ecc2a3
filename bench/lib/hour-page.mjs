// Memory and tokens over time as one SVG.

const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [960, 420, 70, 60, 80, 46];
const MIB = 2 ** 20;

/** A round step that cuts `most` into about five. */
function stepFor(most) {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= rough);
}

export function hourPage({ samples, tokens, seconds, memory, timesRealTime, mediaSeconds, load }) {
  const end = samples.at(-1)[0];
  const memoryStep = stepFor((memory.peakBytes * 1.15) / MIB);
  const topMib = memoryStep * Math.ceil((memory.peakBytes * 1.15) / MIB / memoryStep);
  const x = (s) => LEFT + (s / end) * (WIDTH - LEFT - RIGHT);
  const y = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const line = (value, colour, width) => {
    const points = samples.map((sample) => `${x(sample[0]).toFixed(1)},${y(value(sample)).toFixed(1)}`);
    return `<polyline points="${points.join(" ")}" fill="none" stroke="${colour}" stroke-width="${width}"/>`;
  };
  const text = (atX, atY, words, more = "") => `<text x="${atX}" y="${atY}" ${more}>${words}</text>`;
  const parts = [];
  for (let mib = 0; mib <= topMib; mib += memoryStep) {
    const at = y(mib / topMib);
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#ddd"/>`);
    parts.push(text(LEFT - 8, at + 4, `${mib}`, 'text-anchor="end"'));
  }
  const timeStep = stepFor(end);
  for (let s = 0; s <= end; s += timeStep)
    parts.push(text(x(s), HEIGHT - BOTTOM + 18, `${s} s`, 'text-anchor="middle"'));
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(text(WIDTH - RIGHT + 8, y(share) + 4, `${Math.round((share * tokens) / 1000)}k`, 'fill="#b45309"'));
  }
  const steady = samples.find((sample) => sample[1] >= 0.05 * tokens)[0];
  parts.push(
    `<line x1="${x(steady)}" x2="${x(steady)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" stroke="#999" stroke-dasharray="4 4"/>`,
  );
  parts.push(text(x(steady) + 4, TOP + 12, "5 % of the tokens", 'fill="#666"'));
  parts.push(line((sample) => sample[1] / tokens, "#b45309", 1.5));
  parts.push(line((sample) => sample[2] / MIB / topMib, "#1d4ed8", 2));
  parts.push(line((sample) => sample[3] / MIB / topMib, "#60a5fa", 1.5));
  const title = `${mediaSeconds / 60} minutes of media, ${tokens} tokens in ${seconds.toFixed(0)} s: ${timesRealTime.toFixed(1)} × real time`;
  const range = [memory.leastBytes, memory.mostBytes].map((bytes) => (bytes / MIB).toFixed(0)).join(" to ");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<title>${title}</title>
<rect width="100%" height="100%" fill="white"/>
${text(LEFT, 22, title, 'font-size="16"')}
<text x="${LEFT}" y="42"><tspan fill="#1d4ed8">memory of all processes, MiB (${range} from 5 % on)</tspan><tspan fill="#60a5fa" dx="14">of the decoder</tspan><tspan fill="#b45309" dx="14">tokens</tspan><tspan fill="#666" dx="14">mean load of the machine ${load.mean.toFixed(1)}</tspan></text>
${parts.join("\n")}
</svg>
`;
}
