import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseEncoderConfig, saveCheckpoint, seededWeights } from "@krait/nn";
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
import { built, folderOfTests, makeClip, namesIn, tiny, tinyConfig } from "../../../test/fixtures.js";

type Place = "first" | "middle" | "last";
const at = folderOfTests();
const left = namesIn(at);
const configOf = (classToken: Place) => ({ ...tinyConfig, sequence: { classToken } });

async function withEncoder<R>(place: Place, work: (encoder: Encoder) => Promise<R>): Promise<R> {
  const encoder = await loadEncoder({ ...tiny, config: configOf(place) }, { device: "cpu", chunkTokens: 24 });
  try {
    return await work(encoder);
  } finally {
    await encoder.close();
  }
}

describe.skipIf(!built)("a class token in a long run", () => {
  let clip = "";
  beforeAll(() => {
    clip = makeClip(at("clip.mp4"), { seconds: 5 });
  });
  /** Its number of tokens is an estimate before it is decoded. */
  const mixed = (): Source[] => [text("What is it?"), video(clip, { fps: 5 }), audio(clip), text("The end.")];

  /** Encodes and aborts when so many tokens are done. */
  const interrupt = (place: Place, job: EncodeFileOptions, tokens: number, stage = "encode") =>
    withEncoder(place, (encoder) => {
      const controller = new AbortController();
      const onProgress: EncodeFileOptions["onProgress"] = (progress) =>
        progress.stage === stage && progress.tokens >= tokens && controller.abort();
      return encodeFile(encoder, mixed(), { ...job, signal: controller.signal, onProgress });
    });

  it.each<[Place, EncodeFileOptions["pool"]]>([
    ["first", undefined],
    ["middle", undefined],
    ["middle", "frame"],
    ["middle", "class"],
    ["last", undefined],
    ["last", "class"],
  ])("that is %s is there once in a run that was interrupted twice, pool %s", async (place, pool) => {
    const name = `${place}-${pool}`;
    const whole = at(`whole-${name}.safetensors`);
    const result = await withEncoder(place, (encoder) =>
      encodeFile(encoder, mixed(), { out: whole, pool, page: at(`whole-${name}.html`) }),
    );
    expect(result.byModality.class).toBe(1);
    expect(result.mediaSeconds).toBeGreaterThanOrEqual(5);
    expect((await inspectFeatures(whole)).byModality).toEqual(result.byModality);
    const page = readFileSync(at(`whole-${name}.html`), "utf8");
    expect(page).toContain("<b>1</b> class token");

    const out = at(`again-${name}.safetensors`);
    const job = { out, pool, checkpointSeconds: 0 };
    await expect(interrupt(place, job, 48)).rejects.toMatchObject({ code: "ABORTED_KEPT" });
    await expect(interrupt(place, { ...job, resume: true }, 100)).rejects.toMatchObject({ code: "ABORTED_KEPT" });
    const stages = new Set<string>();
    const again = await withEncoder(place, (encoder) =>
      encodeFile(encoder, mixed(), { ...job, resume: true, onProgress: ({ stage }) => void stages.add(stage) }),
    );
    expect(again.resumedTokens).toBeGreaterThanOrEqual(72);
    // What was counted is kept.
    expect(stages).toEqual(new Set(["encode"]));
    expect(again).toMatchObject({
      tokens: result.tokens,
      byModality: result.byModality,
      mediaSeconds: result.mediaSeconds,
    });
    expect(readFileSync(out).equals(readFileSync(whole))).toBe(true);
  });

  it("does not move when a run goes on with another config of the same weights", async () => {
    const folder = at("moved");
    await saveCheckpoint(folder, parseEncoderConfig(configOf("last")), seededWeights(tiny.seed));
    const job = { out: at("moved.safetensors"), checkpointSeconds: 0 };
    const run = async (more: Partial<EncodeFileOptions>) => {
      const encoder = await loadEncoder(folder, { device: "cpu", chunkTokens: 24 });
      try {
        return await encodeFile(encoder, mixed(), { ...job, ...more });
      } finally {
        await encoder.close();
      }
    };
    const abort = new AbortController();
    const onProgress = ({ tokens }: { tokens: number }) => tokens > 60 && abort.abort();
    await expect(run({ signal: abort.signal, onProgress })).rejects.toMatchObject({ code: "ABORTED_KEPT" });
    writeFileSync(join(folder, "config.json"), JSON.stringify(parseEncoderConfig(configOf("first"))));
    await expect(run({ resume: true })).rejects.toMatchObject({ code: "RESUME_MISMATCH" });
  });

  it("leaves nothing when it is cancelled while tokens are counted", async () => {
    for (const tokens of [1, 100]) {
      const job = { out: at("cancelled.safetensors"), checkpointSeconds: 0 };
      const cancelled = interrupt("middle", job, tokens, "count");
      await expect(cancelled).rejects.toMatchObject({ kind: "aborted", code: "ABORTED" });
      expect(left("cancelled")).toEqual([]);
    }
    // And a consumer that goes away does not wait.
    await withEncoder("middle", async (encoder) => {
      for await (const _ of encoder.stream(mixed())) break;
      expect((await encoder.encode([text("on")])).tokens).toHaveLength(3);
    });
  });
});
