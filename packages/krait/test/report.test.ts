import { describe, expect, it } from "vitest";
import { trackData } from "../src/report/analysis.js";
import { FeatureBins } from "../src/report/binning.js";
import { escapeHtml, scriptJson } from "../src/report/escape.js";
import { ReportCollector } from "../src/report/index.js";
import { quantise } from "../src/report/quantise.js";
import { similarity, triangle } from "../src/report/similarity.js";
import { features, frame, meta, placeAt, random, scenes, speech, textTokens } from "./report-fixture.js";

type Packed = { lo: number; hi: number; data: string };

function unpack({ lo, hi, data }: Packed): number[] {
  return [...Buffer.from(data, "base64")].map((code) =>
    code === 0 ? Number.NaN : lo + ((code - 1) / 254) * (hi - lo),
  );
}

function pageData(html: string) {
  return JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]!);
}

describe("quantise", () => {
  it("errs by half a step at most and keeps gaps", () => {
    const next = random(1);
    const values = Float64Array.from({ length: 500 }, (_, i) => (i % 7 === 3 ? Number.NaN : next() * 30 - 12));
    const packed = quantise(values);
    const half = (packed.hi - packed.lo) / 508 + 1e-12;
    for (const [i, value] of unpack(packed).entries()) {
      if (i % 7 === 3) expect(value).toBeNaN();
      else expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(half);
    }
  });

  it("takes constants, nothing at all, and clamps to a given range", () => {
    expect(unpack(quantise([4, 4, Number.NaN]))).toEqual([4, 4, Number.NaN]);
    expect(unpack(quantise([Number.NaN]))).toEqual([Number.NaN]);
    expect(unpack(quantise([-9, 0, 9], { lo: -3, hi: 3 }))).toEqual([-3, 0, 3]);
  });
});

/** Three seconds of two modalities whose cosines are known by construction: x, x, y. */
function knownBins(): FeatureBins {
  const bins = new FeatureBins(2, 4);
  const rows = [
    [3, 0],
    [2, 0],
    [0, 5],
  ];
  for (const [second, row] of rows.entries())
    for (const code of [1, 2])
      bins.add({
        features: Float32Array.from(row),
        start: Float64Array.of(second),
        end: Float64Array.of(second + 1),
        modality: Uint8Array.of(code),
      });
  return bins;
}

describe("what the page shows", () => {
  it("finds change where features turn, and the norms", async () => {
    const bins = knownBins();
    expect([bins.width, bins.count]).toEqual([1, 3]);
    const track = await trackData(2, bins.lane(2)!, bins, { text: Float64Array.of(1, 0) });
    const change = unpack(track.change);
    expect(change[0]).toBeNaN();
    expect(change[1]).toBeCloseTo(0);
    expect(change[2]).toBeCloseTo(1);
    expect(unpack(track.norm).map((norm) => Math.round(norm * 10) / 10)).toEqual([3, 2, 5]);
    expect(unpack(track.text!).map(Math.round)).toEqual([1, 1, 0]);
    expect(track.dims).toEqual([0, 1]);
  });

  it("shows the features that vary most", async () => {
    const bins = new FeatureBins(100, 64);
    for (let t = 0; t < 20; t++)
      bins.add({
        features: Float32Array.from({ length: 100 }, (_, d) => 1000 + (d % 3 === 1 ? (t % 2) * 5 : (t % 2) * 0.001)),
        start: Float64Array.of(t),
        end: Float64Array.of(t + 1),
        modality: Uint8Array.of(1),
      });
    const { dims, heat } = await trackData(1, bins.lane(1)!, bins);
    expect(dims).toHaveLength(64);
    const lively = Array.from({ length: 33 }, (_, i) => 3 * i + 1);
    expect(dims).toEqual(expect.arrayContaining(lively));
    const row = unpack(heat).slice(dims.indexOf(4) * bins.count, (dims.indexOf(4) + 1) * bins.count);
    const at = (time: number) => row[Math.floor(time / bins.width)]!;
    expect([at(0.5), at(1.5), at(2.5)].map((z) => Math.round(z))).toEqual([-1, 1, -1]);
  });

  it("compares times by the cosine of their pooled features", async () => {
    const bins = knownBins();
    const result = await similarity(bins, [
      [2, bins.lane(2)!],
      [1, bins.lane(1)!],
    ]);
    expect(result.views.map(({ of }) => of)).toEqual(["all", 2, 1]);
    for (const { raw, centred } of result.views) {
      const cosine = unpack(raw);
      expect(cosine[triangle(1, 0)]).toBeCloseTo(1);
      expect(cosine[triangle(2, 0)]).toBeCloseTo(0);
      expect(unpack(centred)[triangle(2, 0)]).toBeLessThan(-0.5);
    }
  });

  it("agrees with cosines computed directly when bins are merged for the matrix", async () => {
    const next = random(8);
    const bins = new FeatureBins(6, 64);
    for (let t = 0; t < 50; t++)
      bins.add({
        features: new Float32Array(6).map(() => next() - 0.3),
        start: Float64Array.of(t),
        end: Float64Array.of(t + 1),
        modality: Uint8Array.of(2),
      });
    const lane = bins.lane(2)!;
    const { side, width, views } = await similarity(bins, [[2, lane]], { side: 20 });
    const factor = width / bins.width;
    expect(side).toBeLessThanOrEqual(20);
    const row = (i: number) =>
      Array.from({ length: 6 }, (_, d) => {
        let sum = 0;
        for (let bin = i * factor; bin < Math.min(bins.count, (i + 1) * factor); bin++) sum += lane.sums[bin * 6 + d]!;
        return sum;
      });
    const cosines = unpack(views[0]!.raw);
    for (let i = 0; i < side; i++)
      for (let j = 0; j <= i; j++) {
        const [a, b] = [row(i), row(j)];
        const wanted = a.reduce((sum, value, d) => sum + value * b[d]!, 0) / (Math.hypot(...a) * Math.hypot(...b));
        expect(Math.abs(cosines[triangle(i, j)]! - wanted)).toBeLessThan(0.005);
      }
  });

  it("stops when aborted", async () => {
    const bins = new FeatureBins(512, 1024);
    bins.add({
      features: new Float32Array(512).fill(1),
      start: Float64Array.of(0),
      end: Float64Array.of(1024 / 64),
      modality: Uint8Array.of(2),
    });
    const running = similarity(bins, [[2, bins.lane(2)!]], { signal: AbortSignal.abort() });
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("the page of an hour", () => {
  it("is whole, small, and does not grow with what went in", { timeout: 120_000 }, async () => {
    const dim = 48;
    const hour = 3600;
    const collector = new ReportCollector({ dim, title: "An hour" });
    const list = scenes(hour);
    collector.addFeatures(textTokens(40, 0, dim));
    const noise = random(2);
    for (let t = 0; t < hour; t += 10) {
      collector.addFeatures(features(t, 10, dim, list));
      collector.addAudio({ samples: speech(t, 2000), sampleRate: 2000, start: t });
      // Noise is the worst a JPEG can meet.
      const shot = frame(t, placeAt(list, t), 320, 320);
      shot.pixels = shot.pixels.map(() => noise() * 255);
      if (t % 50 === 0) await collector.addVideoFrame(shot);
      for (let i = 0; i < 10; i++) collector.addCue({ text: "<&>\u2028".repeat(100), start: t + i, end: t + i + 1 });
      collector.addText("A long text. ".repeat(500), `file ${t % 100}`);
    }
    const html = await collector.html(meta);
    expect(html.length).toBeLessThan(4 * 2 ** 20);
    const data = pageData(html);
    expect(data.duration).toBe(hour);
    expect(data.bins).toBeGreaterThan(512);
    expect(data.bins).toBeLessThanOrEqual(1024);
    expect(data.tracks.map(({ code }: { code: number }) => code)).toEqual([2, 1]);
    for (const track of data.tracks) {
      expect(Buffer.from(track.heat.data, "base64")).toHaveLength(data.bins * track.dims.length);
      expect(unpack(track.change).filter((value) => value > 0.02).length).toBeGreaterThan(5);
    }
    expect(data.similarity.side).toBeLessThanOrEqual(512);
    expect(data.similarity.views).toHaveLength(3);
    const starts = [...html.matchAll(/data-start="([\d.]+)"/g)].map((match) => Number(match[1]));
    expect(starts.length).toBeGreaterThan(25);
    expect(starts.length).toBeLessThanOrEqual(60);
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
  });
});

describe("what users pass in", () => {
  const attack = `"><script>globalThis.pwned = 1</script><!--'</title>`;

  it("is text and never markup", async () => {
    const collector = new ReportCollector({ dim: 2, title: attack });
    collector.addText(`${attack} \ud800 \u0000`, attack);
    collector.addCue({ text: attack, start: 0, end: 1 });
    collector.addFeatures({
      features: Float32Array.of(1, 2),
      start: Float64Array.of(0),
      end: Float64Array.of(1),
      modality: Uint8Array.of(2),
    });
    const html = await collector.html({
      sources: [{ name: `../${attack}`, kind: "video", details: attack }],
      model: { name: attack, random: false, layout: attack, sha256: attack },
      device: attack,
      version: attack,
      createdAt: attack,
      options: { [attack]: attack, nested: { [attack]: [attack] } },
    });
    expect(html.match(/<script[ >]/g)).toHaveLength(2);
    expect(html.match(/<\/script/g)).toHaveLength(2);
    expect(html).not.toContain("<!--");
    expect(html.match(/<\/title/g)).toHaveLength(1);
    expect(html).not.toMatch(/\p{Surrogate}/u);
    expect(pageData(html).cues[0].text).toBe(attack);
  });

  it("is escaped at the lowest level too", () => {
    expect(escapeHtml(`<a href='x' b="&">`)).toBe("&lt;a href=&#39;x&#39; b=&quot;&amp;&quot;&gt;");
    expect(escapeHtml("a\ud800b\u0000c😀")).toBe("a\ufffdb\ufffdc😀");
    const text = "</script><!-- \u2028 & ]]>";
    expect(scriptJson({ text })).not.toMatch(/[<>&\u2028]/);
    expect(JSON.parse(scriptJson({ text }))).toEqual({ text });
  });

  it("cannot make the page large", async () => {
    const collector = new ReportCollector({ dim: 1, title: "<".repeat(1e6) });
    const long = "&".repeat(1e5);
    for (let i = 0; i < 50; i++) collector.addText(long, `${i}${long}`);
    const html = await collector.html({
      ...meta,
      sources: Array.from({ length: 500 }, () => ({ name: long, kind: "text" as const, details: long })),
      options: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${i}${long}`, long])),
    });
    expect(html.length).toBeLessThan(2 ** 20);
    expect(html).toContain("and 440 more");
  });

  it("is refused with a code when it is wrong", async () => {
    expect(() => new ReportCollector({ dim: 0, title: "x" })).toThrowError(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
    const collector = new ReportCollector({ dim: 2, title: "x" });
    await expect(collector.addVideoFrame({ ...frame(0, 0), width: 7 })).rejects.toMatchObject({
      code: "INVALID_FRAME",
    });
    expect(() => collector.addCue({ text: "", start: 2, end: 1 })).toThrowError(
      expect.objectContaining({ code: "INVALID_CUE" }),
    );
    await expect(collector.html({ ...meta, version: 3 } as never)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});

describe("the words on the page", () => {
  it("say that random weights mean nothing, and only then", async () => {
    const collector = new ReportCollector({ dim: 1, title: "x" });
    const untrained = await collector.html(meta);
    expect(untrained).toMatch(/weights are random numbers/);
    expect(untrained).toMatch(/no trained meaning/);
    const trained = await collector.html({ ...meta, model: { name: "base", random: false, sha256: "ab".repeat(32) } });
    expect(trained).not.toMatch(/random (weights|numbers)|trained meaning/);
    expect(trained).toContain("abababababab");
  });

  it("need nothing from outside", async () => {
    const collector = new ReportCollector({ dim: 1, title: "x" });
    await collector.addVideoFrame(frame(0, 0));
    const html = await collector.html(meta);
    expect(html).not.toMatch(/(?:src|href)="(?!data:image\/jpeg;base64,)/);
    expect(html).not.toMatch(/@import|url\(|https?:/);
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/unsafe/);
  });
});
