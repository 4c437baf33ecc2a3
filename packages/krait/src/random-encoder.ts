import { createHash } from "node:crypto";
import { type EncoderConfig, parseEncoderConfig } from "@krait/nn";

/** What `krait encode` uses without `--model`: random weights, so the features say how alike signals are, not what they mean. */
export const builtInConfig: EncoderConfig = parseEncoderConfig({
  model_type: "krait_encoder",
  version: 1,
  inputs: { video: {}, audio: {}, text: {} },
  stack: {
    width: 256,
    layout: "(M2 M2 M2 A)x2",
    mamba2: { stateSize: 64, headDim: 64 },
    attention: { heads: 4, keyHeads: 2, window: 512, sinks: 4 },
  },
});

/** Stands for `model.sha256` where there is no file: a digest of config and seed, from which all weights follow. */
export function seededDigest(config: EncoderConfig, seed: number): string {
  return createHash("sha256").update(JSON.stringify({ config, seed })).digest("hex");
}
