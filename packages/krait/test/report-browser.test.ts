import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ReportCollector } from "../src/report/index.js";
import { features, frame, meta, placeAt, scenes, speech, textTokens } from "./report-fixture.js";

const chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
const attack = `"><img src=x onerror="document.documentElement.dataset.pwned='yes'"><script>document.documentElement.dataset.pwned='yes'</script>`;

/** Runs in a copy of the page whose policy is lifted: reads the canvases back, then works the page by events. */
const probe = `
const wait = () => document.documentElement.dataset.drawn ? setTimeout(look, 200) : setTimeout(wait, 20);
const settled = () => new Promise((resolve) => setTimeout(resolve, 100));
const now = () => Number(document.getElementById("tracks").getAttribute("aria-valuenow"));
const colours = (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
};
async function look() {
  const out = { canvases: {}, overflow: document.documentElement.scrollWidth - innerWidth };
  for (const canvas of document.querySelectorAll("canvas")) out.canvases[canvas.id] = colours(canvas);
  out.frames = [...document.querySelectorAll("#thumbs figure")].filter((figure) => !figure.hidden).length;
  const tracks = document.getElementById("tracks");
  const key = async (name) => { tracks.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true })); await settled(); };
  out.start = now();
  await key("ArrowRight");
  out.stepped = now();
  await key("End");
  out.end = now();
  const matrix = document.getElementById("matrix"), box = matrix.getBoundingClientRect();
  const at = { clientX: box.left + 46 + (box.width - 46) / 2, clientY: box.top + (box.width - 46) / 4, bubbles: true };
  matrix.dispatchEvent(new PointerEvent("pointermove", at));
  await settled();
  out.pair = [document.getElementById("pair-a-time").textContent, document.getElementById("pair-b-time").textContent];
  out.value = document.getElementById("pair-value").textContent;
  matrix.dispatchEvent(new MouseEvent("click", at));
  await settled();
  out.clicked = now();
  out.cue = document.getElementById("now-cue").textContent;
  const plot = document.getElementById("ruler").getBoundingClientRect();
  tracks.dispatchEvent(new WheelEvent("wheel", { deltaY: -50, ctrlKey: true, clientX: plot.left + plot.width / 2, clientY: plot.top, bubbles: true, cancelable: true }));
  await settled();
  out.zoomed = !document.getElementById("reset").hidden;
  document.documentElement.dataset.probe = JSON.stringify(out);
}
wait();`;

describe.skipIf(!chromium)("the page in a browser", () => {
  let folder: string;
  let html: string;
  const duration = 40;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "krait-report-"));
    const collector = new ReportCollector({ dim: 64, title: attack });
    const list = scenes(duration);
    collector.addText(attack, attack);
    collector.addFeatures(textTokens(30, 0, 64));
    for (let t = 0; t < duration; t += 2) {
      collector.addFeatures(features(t, 2, 64, list));
      await collector.addVideoFrame(frame(t, placeAt(list, t)));
      collector.addAudio({ samples: speech(t, 8000), sampleRate: 8000, start: t });
      collector.addCue({ text: `${attack} ${t}`, start: t, end: t + 2 });
    }
    html = await collector.html({
      ...meta,
      sources: [{ name: attack, kind: "video", details: attack }],
      options: { [attack]: attack },
    });
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function open(page: string, flags: string[]): Promise<string> {
    const path = join(folder, "page.html");
    await writeFile(path, page);
    const { stdout } = await promisify(execFile)(
      chromium!,
      [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
        ...["--disable-component-update", "--no-first-run", `--user-data-dir=${join(folder, "profile")}`],
        ...["--virtual-time-budget=8000", "--hide-scrollbars", ...flags, pathToFileURL(path).href],
      ],
      { timeout: 50_000, maxBuffer: 64 * 2 ** 20 },
    );
    return stdout;
  }

  const rootOf = (dom: string) => /<html(?:"[^"]*"|[^">])*>/.exec(dom)![0];

  it("draws everything without an error, under its own policy", async () => {
    const root = rootOf(await open(html, ["--dump-dom"]));
    expect(root).toContain(`data-drawn="yes"`);
    expect(root).not.toContain("data-error");
    expect(root).not.toContain("data-pwned");
  });

  it("would say so if a script failed or were forbidden", async () => {
    const broken = html.replace("const duration = page.duration;", "const duration = page.duration.x.y;");
    expect(rootOf(await open(broken, ["--dump-dom"]))).not.toContain("data-drawn");
    const foreign = html.replace("</body>", "<script>document.title = 'x'</script></body>");
    expect(rootOf(await open(foreign, ["--dump-dom"]))).toContain(`data-error="blocked script-src`);
  });

  it.each([1280, 500])("fills its canvases and answers to keys and clicks at %i pixels", async (width) => {
    const open2 = html
      // Headless with virtual time stops making frames once the page rests; timers go on.
      .replace(
        /<meta http-equiv="Content-Security-Policy"[^>]*>/,
        "<script>requestAnimationFrame = (paint) => setTimeout(paint, 5)</script>",
      )
      .replace("</body>", `<script>${probe}</script></body>`);
    const root = rootOf(await open(open2, ["--dump-dom", `--window-size=${width},900`]));
    expect(root).not.toContain("data-error");
    expect(root).not.toContain("data-pwned");
    const found = JSON.parse(
      /data-probe="([^"]*)"/.exec(root)![1]!.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">"),
    );
    expect(found.overflow).toBeLessThanOrEqual(0);
    for (const id of ["ruler", "wave", "heat-1", "heat-2", "curve-1", "curve-2", "text-2", "like", "matrix", "legend"])
      expect([id, found.canvases[id] > 3]).toEqual([id, true]);
    expect(found.frames).toBeGreaterThan(2);
    expect(found.start).toBe(0);
    expect(found.stepped).toBeGreaterThan(0);
    expect(found.end).toBe(duration);
    expect(found.pair).toEqual([expect.stringMatching(/^0:(19\.9|20\.0)/), expect.stringMatching(/^0:(09\.9|10\.0)/)]);
    expect(Number(found.value)).toBeGreaterThanOrEqual(-1);
    expect(found.clicked).toBeCloseTo(duration / 2, 0);
    expect(found.cue).toContain("<script>");
    expect(found.zoomed).toBe(true);
  });

  it("follows the colour scheme", async () => {
    const brightness = async (scheme: number) => {
      const shot = join(folder, "shot.png");
      await open(html, [
        `--screenshot=${shot}`,
        "--window-size=900,700",
        `--blink-settings=preferredColorScheme=${scheme}`,
      ]);
      const { channels } = await sharp(await readFile(shot)).stats();
      return channels[0]!.mean;
    };
    expect(await brightness(1)).toBeGreaterThan(180);
    expect(await brightness(0)).toBeLessThan(80);
  });
});
