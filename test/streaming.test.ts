import { execFileSync } from "node:child_process";
import { audio, type Encoder, type Features, loadEncoder, type Session, type Source, text, video } from "krait";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, folderOfTests, makeClip, relativeRms, tiny, tinyConfig } from "./fixtures.js";

const at = folderOfTests();
const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const words = "Drei Kreise drehen sich. 三つの円。";
let clip = "";

async function withEncoder<T>(chunkTokens: number, work: (encoder: Encoder) => Promise<T>): Promise<T> {
  const encoder = await loadEncoder(tiny, { device: "cpu", chunkTokens });
  try {
    return await work(encoder);
  } finally {
    await encoder.close();
  }
}

const mixed = (): Source[] => [text("A prefix."), video(clip, { fps: 5 }), audio(clip), text(words)];

/** Places k·n inside the sequence where both neighbours are patches of one tubelet. */
function cutsInsideTubelets({ tokens }: Features, n: number): number {
  let cuts = 0;
  for (let i = n; i < tokens.length; i += n) {
    const [before, after] = [tokens[i - 1]!, tokens[i]!];
    const sameTubelet = before.modality === "video" && after.modality === "video" && before.start === after.start;
    if (sameTubelet) cuts++;
  }
  return cuts;
}

describe.skipIf(!built)(`a mixed sequence, seed ${seed}`, () => {
  let whole: Features;
  beforeAll(async () => {
    clip = makeClip(at("clip.mp4"), { seconds: 4.3 });
    whole = await withEncoder(4096, (encoder) => encoder.encode(mixed()));
  });

  it("holds all modalities in the order of time", () => {
    const count = (modality: string) => whole.tokens.filter((token) => token.modality === modality);
    expect(whole.dim).toBe(32);
    expect(whole.data).toHaveLength(whole.tokens.length * 32);
    expect(whole.data.every(Number.isFinite)).toBe(true);
    // 22 frames at 5 per second make 11 tubelets of 4 patches; 430 mel frames, 8 to a token; separators between 5 pieces.
    expect(count("video")).toHaveLength(44);
    expect(count("text")).toHaveLength(9 + Buffer.byteLength(words));
    expect(count("separator")).toHaveLength(4);
    expect(Math.abs(count("audio").length - 4.3 * 12.5)).toBeLessThan(2);
    for (const modality of ["video", "audio"]) {
      const starts = count(modality).map((token) => token.start);
      expect(starts).toEqual([...starts].sort((a, b) => a - b));
    }
    expect(count("video").slice(0, 4)).toEqual(
      [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
      ].map(([row, column]) => expect.objectContaining({ start: 0, row, column })),
    );
  });

  const random = 5 + (seed % 60);
  it.each([1, 3, 17, 64, random])("streamed in chunks of %d tokens equals the whole", async (chunkTokens) => {
    await withEncoder(chunkTokens, async (encoder) => {
      const streamed = await encoder.encode(mixed());
      expect(streamed.tokens).toEqual(whole.tokens);
      expect(relativeRms(streamed.data, whole.data)).toBeLessThanOrEqual(1e-5);
      if (chunkTokens === 3) expect(cutsInsideTubelets(whole, 3)).toBeGreaterThan(5);
    });
  });

  it("comes in parts of the size that was asked for", async () => {
    await withEncoder(17, async (encoder) => {
      const counts: number[] = [];
      for await (const part of encoder.stream(mixed())) {
        for (const column of [part.start, part.end, part.modality, part.row, part.column])
          expect(column).toHaveLength(part.count);
        expect(part.features).toHaveLength(part.count * part.dim);
        counts.push(part.count);
      }
      const rest = whole.tokens.length % 17;
      expect(counts).toEqual([...Array(Math.floor(whole.tokens.length / 17)).fill(17), ...(rest > 0 ? [rest] : [])]);
    });
  });

  it("is counted before anything is decoded, and says where that is an estimate", async () => {
    await withEncoder(64, async (encoder) => {
      const guess = await encoder.predict(mixed());
      expect(guess.exact).toBe(false);
      expect(guess.byModality.video).toBe(44);
      expect(Math.abs(guess.tokens - whole.tokens.length)).toBeLessThanOrEqual(2);

      const sound = at("sound.wav");
      execFileSync("ffmpeg", ["-v", "error", "-y", "-i", clip, "-vn", "-ar", "44100", sound]);
      for (const range of [{}, { start: 0.7 }, { start: 0.31, end: 3.33 }]) {
        const sources = [text(words), audio(sound, range)];
        const { tokens, exact } = await encoder.predict(sources);
        expect(exact).toBe(true);
        expect((await encoder.encode(sources)).tokens).toHaveLength(tokens);
      }
    });
  });

  it("does not depend on what is encoded beside it", async () => {
    await withEncoder(16, async (encoder) => {
      const [a, b] = await Promise.all([encoder.encode(mixed()), encoder.encode([text(words), audio(clip)])]);
      expect(relativeRms(a.data, whole.data)).toBeLessThanOrEqual(1e-5);
      const alone = await encoder.encode([text(words), audio(clip)]);
      expect(b).toEqual(alone);
    });
  });
});

describe.skipIf(!built)("a session", () => {
  let encoder: Encoder;
  beforeAll(async () => {
    encoder = await loadEncoder(tiny, { device: "cpu", chunkTokens: 16 });
  });
  afterAll(() => encoder.close());

  const head = (): Source[] => [video(clip, { fps: 5, end: 2 }), audio(clip, { end: 2 })];
  const tail = (): Source[] => [video(clip, { fps: 5, start: 2 }), audio(clip, { start: 2 })];
  const go = (session: Session, sources: Source[], by = encoder) => by.encode(sources, { session });

  it("continues from a snapshot to the same bits, here and in another encoder", async () => {
    const session = await encoder.open();
    const first = await go(session, head());
    expect(session.position).toBe(first.tokens.length);
    const snapshot = await session.snapshot();
    const rest = await go(session, tail());

    await session.restore(snapshot);
    expect(session.position).toBe(first.tokens.length);
    expect(await go(session, tail())).toEqual(rest);
    session.close();

    await withEncoder(16, async (other) => {
      const elsewhere = await other.open();
      await elsewhere.restore(structuredClone(snapshot));
      expect(await go(elsewhere, tail(), other)).toEqual(rest);
      elsewhere.close();
    });
    // What came before matters: without it the same sources give something else.
    const fresh = await encoder.encode(tail());
    expect(relativeRms(fresh.data, rest.data)).toBeGreaterThan(1e-2);
  });

  it("can be snapshot between the parts of a stream, and goes on from there", async () => {
    const session = await encoder.open();
    let snapshot: Awaited<ReturnType<Session["snapshot"]>> | undefined;
    for await (const _ of encoder.stream(mixed(), { session })) {
      if (session.position < 64) continue;
      snapshot = await session.snapshot();
      break;
    }
    const after = await go(session, [text("and then")]);
    await session.restore(snapshot!);
    expect(await go(session, [text("and then")])).toEqual(after);
    session.close();
  });

  it("forks into two that know nothing of each other", async () => {
    const session = await encoder.open();
    await go(session, head());
    const fork = await session.fork();
    const other = await go(fork, [text("something else entirely")]);
    const rest = await go(session, tail());
    const again = await encoder.open();
    await go(again, head());
    expect(await go(again, tail())).toEqual(rest);
    expect(fork.position).toBe(again.position - rest.tokens.length + other.tokens.length);
    for (const s of [session, fork, again]) s.close();
  });

  it("takes one stream at a time, of its own encoder", async () => {
    const session = await encoder.open();
    const results = await Promise.allSettled([go(session, head()), go(session, tail())]);
    expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected"]);
    expect(results[1]).toMatchObject({ reason: { code: "SESSION_NOT_READY", kind: "usage" } });
    // Free again, whether a stream ended or was left.
    for await (const _ of encoder.stream(tail(), { session })) break;
    await go(session, [text("on")]);
    await withEncoder(16, async (other) => {
      await expect(go(session, head(), other)).rejects.toMatchObject({ code: "SESSION_MISMATCH" });
    });
    session.close();
    await expect(go(session, [text("on")])).rejects.toMatchObject({ code: "SESSION_NOT_READY" });
  });
});

describe.skipIf(!built)("an encoder with full attention", () => {
  const attention = { heads: 2, keyHeads: 1, window: "full" as const };
  const full = { seed: 5, config: { ...tinyConfig, stack: { ...tinyConfig.stack, attention } } };
  const long = [text("A sentence that is longer than a chunk, and than two of them.")];

  it("is refused a stream without maxTokens, by name", async () => {
    const encoder = await loadEncoder(full, { device: "cpu" });
    try {
      const refusal = { code: "STATE_GROWS", message: expect.stringContaining("maxTokens") };
      await expect(encoder.encode(long)).rejects.toMatchObject(refusal);
      await expect(encoder.stream(long).next()).rejects.toMatchObject(refusal);
      await expect(encoder.open()).rejects.toMatchObject(refusal);
    } finally {
      await encoder.close();
    }
  });

  it("gives the same features in any chunks, up to maxTokens and no further", async () => {
    const run = async (chunkTokens: number, sources: Source[]) => {
      const encoder = await loadEncoder(full, { device: "cpu", chunkTokens, maxTokens: 61 });
      try {
        return await encoder.encode(sources);
      } finally {
        await encoder.close();
      }
    };
    const whole = await run(512, long);
    expect(whole.tokens).toHaveLength(61);
    expect(relativeRms((await run(20, long)).data, whole.data)).toBeLessThan(1e-5);
    await expect(run(20, [text("x".repeat(62))])).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  });
});
