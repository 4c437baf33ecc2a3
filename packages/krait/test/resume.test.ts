import { readFileSync, writeFileSync } from "node:fs";
import {
  audio,
  type EncodeFileOptions,
  type Encoder,
  encodeFile,
  inspectFeatures,
  loadEncoder,
  type Source,
  text,
  video,
} from "krait";
import { beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, namesIn, tiny } from "../../../test/fixtures.js";

const at = folderOfTests();
const left = namesIn(at);

describe.skipIf(!built)("an encoding that was interrupted", () => {
  let sources: Source[] = [];
  beforeAll(() => {
    const clip = makeClip(at("clip.mkv"), { seconds: 9 });
    sources = [text("What is it?"), video(clip, { fps: 5 }), audio(clip)];
  });

  async function withEncoder<R>(work: (encoder: Encoder) => Promise<R>, seed = tiny.seed): Promise<R> {
    const encoder = await loadEncoder({ ...tiny, seed }, { device: "cpu", chunkTokens: 24 });
    try {
      return await work(encoder);
    } finally {
      await encoder.close();
    }
  }

  /** Encodes and aborts when so many tokens are done. */
  const interrupt = (job: EncodeFileOptions, tokens: number, of = sources) =>
    withEncoder(async (encoder) => {
      const controller = new AbortController();
      const onProgress = (progress: { tokens: number }) => progress.tokens >= tokens && controller.abort();
      return encodeFile(encoder, of, { ...job, signal: controller.signal, onProgress });
    });

  it.each<[string, EncodeFileOptions["pool"], string]>([
    ["token", undefined, "safetensors"],
    ["token", undefined, "npy"],
    ["frame", "frame", "safetensors"],
    ["seconds", 1.5, "safetensors"],
  ])("goes on to the file of an uninterrupted one: %s, %s, .%s", async (name, pool, format) => {
    const whole = at(`whole-${name}.${format}`);
    const result = await withEncoder((encoder) => encodeFile(encoder, sources, { out: whole, pool }));
    const out = at(`again-${name}.${format}`);
    const job = { out, pool, page: at(`again-${name}.html`), checkpointSeconds: 0 };
    const kept = interrupt(job, 60);
    await expect(kept).rejects.toMatchObject({ kind: "aborted", code: "ABORTED_KEPT" });
    const partial = await inspectFeatures(out);
    expect(partial.kind).toBe("partial");
    expect(partial.tokens).toBeLessThan(result.tokens);
    // A second time, further on.
    await expect(interrupt({ ...job, resume: true }, 150)).rejects.toMatchObject({ code: "ABORTED_KEPT" });
    expect((await inspectFeatures(out)).tokens).toBeGreaterThan(partial.tokens);
    const again = await withEncoder((encoder) => encodeFile(encoder, sources, { ...job, resume: true }));
    expect(again.resumedTokens).toBeGreaterThanOrEqual(120);
    const { tokens, byModality, mediaSeconds } = result;
    expect(again).toMatchObject({ tokens, byModality, mediaSeconds });
    for (const file of left(`whole-${name}.`))
      expect(readFileSync(at(file)).equals(readFileSync(at(file.replace("whole", "again")))), file).toBe(true);
    expect(left(`again-${name}`).filter((file) => file.includes("partial"))).toEqual([]);
  });

  it("early leaves nothing", async () => {
    await expect(interrupt({ out: at("early.safetensors") }, 60)).rejects.toMatchObject({ code: "ABORTED" });
    expect(left("early")).toEqual([]);
  });

  it("starts anew where nothing was left", async () => {
    const job = { out: at("fresh.safetensors"), resume: true };
    const { resumedTokens } = await withEncoder((encoder) => encodeFile(encoder, [text("words")], job));
    expect(resumedTokens).toBe(0);
  });

  it("does not go on with another model, other options or damaged files", async () => {
    const job = { out: at("other.safetensors"), checkpointSeconds: 0 };
    await expect(interrupt(job, 60)).rejects.toMatchObject({ code: "ABORTED_KEPT" });
    const before = left("other");
    const resume = { ...job, resume: true };
    const encode = (of: Source[], more: Partial<EncodeFileOptions> = {}, seed?: number) =>
      withEncoder((encoder) => encodeFile(encoder, of, { ...resume, ...more }), seed);
    const mismatch = { kind: "usage", code: "RESUME_MISMATCH" };
    await expect(encode(sources, {}, 6)).rejects.toMatchObject(mismatch);
    await expect(encode(sources, { pool: "frame" })).rejects.toMatchObject(mismatch);
    await expect(encode([text("Another"), ...sources.slice(1)])).rejects.toMatchObject(mismatch);
    expect(left("other")).toEqual(before);
    const state = readFileSync(`${job.out}.partial.state`);
    for (const damaged of [
      state.subarray(0, state.length - 1),
      Buffer.from("{}"),
      Buffer.from(state).fill(0x20, 8, 40),
    ]) {
      writeFileSync(`${job.out}.partial.state`, damaged);
      await expect(encode(sources)).rejects.toMatchObject({ kind: "input", code: "RESUME_INVALID" });
    }
    writeFileSync(`${job.out}.partial.state`, state);
    writeFileSync(`${job.out}.partial.0`, "short");
    await expect(encode(sources)).rejects.toMatchObject({ kind: "input", code: "RESUME_INVALID" });
  });
});
