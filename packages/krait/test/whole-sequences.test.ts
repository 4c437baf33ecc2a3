import { expect, test } from "vitest";
import { estimate, loadEncoder, text } from "../src/index.js";

const config = (layout: string) => ({
  model_type: "krait_encoder",
  version: 1,
  inputs: { text: {} },
  stack: { width: 32, layout, mamba2: { stateSize: 8, headDim: 16, chunkSize: 8 }, attention: { heads: 2 } },
});

test("an encoder that looks ahead runs a sequence whole or not at all", async () => {
  const encoder = await loadEncoder({ seed: 1, config: config("M2 M2r A") }, { device: "cpu", chunkTokens: 40 });
  try {
    const rows = async (words: string) => (await encoder.encode([text(words)])).data;
    const [a, b] = [await rows("The river is wide."), await rows("The river is wide?")];
    // The first token has seen the last.
    expect(a.subarray(0, 32)).not.toEqual(b.subarray(0, 32));
    expect(await rows("The river is wide.")).toEqual(a);
    for (const length of [40, 41, 80]) {
      const run = rows("x".repeat(length));
      if (length <= 40) expect((await run).length).toBe(length * 32);
      else
        await expect(run).rejects.toMatchObject({ code: "NOT_CAUSAL", hint: expect.stringContaining("chunkTokens") });
    }
    await expect(encoder.open()).rejects.toMatchObject({ code: "NOT_CAUSAL" });
    // A refused sequence leaves the encoder as it was.
    expect(await rows("The river is wide.")).toEqual(a);
  } finally {
    await encoder.close();
  }
});

test("an estimate sets mixers that look ahead beside as many layers of attention", async () => {
  const compared = async (layout: string) => {
    const { comparison } = await estimate({ seed: 1, config: config(layout) }, [text("The river")], {
      compare: "attention",
    });
    return comparison!.at(-1)!;
  };
  const [causal, ahead] = [await compared("M2 G M2"), await compared("M2r G M2b")];
  expect(ahead).toMatchObject({ tokens: causal.tokens, keyValueBytes: causal.keyValueBytes, stateBytes: 0 });
  expect(causal.stateBytes).toBeGreaterThan(0);
});
