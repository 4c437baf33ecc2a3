import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { audio, type Encoder, encodeFile, loadEncoder, type Source, text, video } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, collectGarbage, folderOfTests, makeClip, tiny } from "./fixtures.js";

const at = folderOfTests();
const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const onLinux = process.platform === "linux";
const openFiles = () => (onLinux ? readdirSync("/proc/self/fd").length : 0);
const children = () => {
  const list = `/proc/self/task/${process.pid}/children`;
  return existsSync(list) ? readFileSync(list, "utf8").split(" ").filter(Boolean).length : 0;
};

interface Outcome {
  /** Milliseconds from abort() until the promise settled; undefined when the work was done before. */
  after: number | undefined;
  error: unknown;
}

/** Starts work, aborts it as soon as `moment` resolves, and waits for its end. */
async function abortAt(moment: Promise<unknown>, work: (signal: AbortSignal) => Promise<unknown>): Promise<Outcome> {
  const controller = new AbortController();
  let aborted: number | undefined;
  let ended = false;
  void moment.then(() => {
    if (ended) return;
    aborted = performance.now();
    controller.abort();
  });
  const error = await work(controller.signal).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  ended = true;
  return { after: aborted === undefined ? undefined : performance.now() - aborted, error };
}

/** Once again, up to twice, where it took too long: other processes share the machine. */
async function abortSoon(moment: () => Promise<unknown>, work: (signal: AbortSignal) => Promise<unknown>) {
  for (let attempt = 1; ; attempt++) {
    const outcome = await abortAt(moment(), work);
    if (attempt === 3 || outcome.after === undefined || outcome.after < 200) return outcome;
  }
}

describe.skipIf(!built)(`an abort, seed ${seed}`, () => {
  let sources: Source[];
  let encoder: Encoder;
  let small: Encoder;
  beforeAll(async () => {
    const clip = makeClip(at("clip.mkv"), { seconds: 4, size: "160x120" });
    sources = [text("Who speaks? ".repeat(20)), video(clip, { fps: 4 }), audio(clip)];
    encoder = await loadEncoder({ seed: 0 }, { device: "cpu", chunkTokens: 512 });
    small = await loadEncoder(tiny, { device: "cpu", chunkTokens: 32 });
  });
  afterAll(() => Promise.all([encoder.close(), small.close()]));

  /** Encodes into a fresh folder; whatever happens, a file there must be whole. */
  async function toFolder(
    by: Encoder,
    signal: AbortSignal,
    on: { progress?: (done: boolean) => void; frame?: () => void } = {},
  ) {
    const folder = at("out");
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder);
    const onProgress = ({ tokens, totalTokens = 0 }: { tokens: number; totalTokens?: number }) => {
      if (tokens > 0) on.progress?.(tokens >= totalTokens - 2);
    };
    await encodeFile(by, sources, { out: `${folder}/f.safetensors`, page: `${folder}/f.html`, signal, onProgress });
  }

  async function expectStopped({ after, error }: Outcome): Promise<void> {
    if (error === undefined) {
      expect((await readdir(at("out"))).sort()).toEqual(["f.html", "f.safetensors"]);
      return;
    }
    expect(error).toMatchObject({ kind: "aborted", code: "ABORTED" });
    expect(after).toBeLessThan(200);
    expect(await readdir(at("out"))).toEqual([]);
    expect(children()).toBe(0);
  }

  const draw = (() => {
    let state = seed >>> 0 || 1;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
  })();

  it("stops an encode at any moment within 200 ms and leaves nothing", async () => {
    const begun = performance.now();
    await toFolder(encoder, new AbortController().signal);
    const whole = performance.now() - begun;
    let stopped = 0;
    for (let round = 0; round < 10; round++) {
      const delay = draw() * whole;
      const outcome = await abortSoon(
        () => sleep(delay),
        (signal) => toFolder(encoder, signal),
      );
      await expectStopped(outcome);
      if (outcome.error !== undefined) stopped++;
    }
    expect(stopped).toBeGreaterThan(2);
  });

  it.each(["the first numbers", "the last numbers, before the page"])("stops it right after %s", async (which) => {
    let reached = () => {};
    const moment = () =>
      new Promise<void>((resolve) => {
        reached = resolve;
      });
    const progress = (done: boolean) => {
      if (done || which === "the first numbers") reached();
    };
    const outcome = await abortSoon(moment, (signal) => toFolder(encoder, signal, { progress }));
    expect(outcome.error).toBeDefined();
    await expectStopped(outcome);
  });

  it("stops a decode in the middle of a chunk", async () => {
    const large = makeClip(at("large.mkv"), { seconds: 8, size: "1280x720", rate: 30 });
    const patient = await loadEncoder(tiny, { device: "cpu", chunkTokens: 4096 });
    let reached = () => {};
    const moment = () =>
      new Promise<void>((resolve) => {
        reached = resolve;
      });
    // The whole clip is one chunk: without its own signal the decoder would go on for a second.
    const taps = { video: () => reached() };
    const decode = (signal: AbortSignal) => patient.encode([video(large, { fps: 30 }), audio(large)], { signal, taps });
    const { after, error } = await abortSoon(moment, decode);
    expect(error).toMatchObject({ code: "ABORTED" });
    expect(after).toBeLessThan(200);
    expect(children()).toBe(0);
    await patient.close();
  });

  it("stops the loading of a model", async () => {
    const config = {
      model_type: "krait_encoder",
      version: 1,
      inputs: { text: {} },
      stack: { width: 1024, layout: "M2x6", mamba2: { headDim: 64, stateSize: 64 } },
    };
    for (const delay of [0, 50, 150, 300]) {
      const { after, error } = await abortSoon(
        () => sleep(delay),
        (signal) => loadEncoder({ seed: 1, config }, { device: "cpu", signal }),
      );
      expect(error).toMatchObject({ code: "ABORTED" });
      expect(after).toBeLessThan(200);
    }
    await expect(loadEncoder(tiny, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("stops a stream that waits for its consumer, and one that was never read", async () => {
    const controller = new AbortController();
    const stream = small.stream(sources, { signal: controller.signal });
    expect((await stream.next()).value?.count).toBe(32);
    controller.abort();
    await expect(stream.next()).rejects.toMatchObject({ code: "ABORTED" });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await expect(small.encode(sources, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect(children()).toBe(0);
  });

  it("is what a consumer's leaving and the encoder's close() amount to", async () => {
    for await (const _ of small.stream(sources)) break;
    expect(children()).toBe(0);
    const other = await loadEncoder(tiny, { device: "cpu", chunkTokens: 32 });
    const running = other.encode(sources).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    await sleep(50);
    await other.close();
    expect(await running).toMatchObject({ code: expect.stringMatching(/^(ABORTED|CLOSED)$/) });
    await expect(other.encode(sources)).rejects.toMatchObject({ code: "CLOSED", hint: expect.any(String) });
    expect(children()).toBe(0);
  });

  it("frees all it held: 50 of them leave no memory, files or processes", { timeout: 120_000 }, async () => {
    const aborted = async (rounds: number) => {
      for (let i = 0; i < rounds; i++) {
        const delay = draw() * 250;
        await abortAt(sleep(delay), (signal) => toFolder(small, signal));
      }
      await collectGarbage();
      return { memory: process.memoryUsage().rss, files: openFiles(), children: children() };
    };
    const before = await aborted(10);
    const after = await aborted(50);
    expect(after.children).toBe(0);
    expect(after.files).toBeLessThanOrEqual(before.files + 1);
    expect((after.memory - before.memory) / 2 ** 20).toBeLessThan(24);
    // Its sessions are free again as well: the encoder has four.
    const sessions = await Promise.all([1, 2, 3, 4].map(() => small.open()));
    for (const session of sessions) session.close();
  });
});
