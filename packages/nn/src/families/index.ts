import { expected, InputError } from "@krait/core";
import type { PublishedConfig } from "../checkpoints/index.js";
import { aumFamily } from "./aum.js";
import { bambaFamily } from "./bamba.js";
import type { EncoderDescription, EncoderFamily } from "./encoder-family.js";
import { falconH1Family } from "./falcon-h1.js";
import type { CausalDescription, DescribeOptions, Family } from "./family.js";
import { graniteFamily } from "./granite-moe-hybrid.js";
import { jambaFamily } from "./jamba.js";
import { falconMambaFamily, mambaFamily } from "./mamba.js";
import { mambaSsmFamily } from "./mamba-ssm.js";
import { mamba2Family } from "./mamba2.js";
import { nemotronHFamily } from "./nemotron-h.js";
import { videoMambaFamily } from "./videomamba.js";
import { vimFamily } from "./vim.js";
import { zamba2Family } from "./zamba2.js";

/** Every published architecture that can be loaded. A new one is one file and one line here. */
export const families: readonly Family[] = [
  mambaFamily,
  falconMambaFamily,
  mamba2Family,
  bambaFamily,
  graniteFamily,
  falconH1Family,
  nemotronHFamily,
  jambaFamily,
  zamba2Family,
  mambaSsmFamily,
];

/** Reads a config by the family it belongs to. Throws `InputError` (MODEL_TYPE_UNKNOWN, INVALID_CONFIG, CONFIG_UNSUPPORTED). */
export function describeModel(config: PublishedConfig, options: DescribeOptions): CausalDescription {
  const family = families.find((f) => f.matches(config));
  if (family) return family.describe(config, options);
  throw unknownType(config, families, encoderFamilies, "It is an encoder: loadClipEncoder() takes it.");
}

/** Every published encoder of pictures, clips or sound that can be loaded. */
export const encoderFamilies: readonly EncoderFamily[] = [vimFamily, videoMambaFamily, aumFamily];

/** Reads a config by the encoder family it belongs to. Throws `InputError` (MODEL_TYPE_UNKNOWN, INVALID_CONFIG, CONFIG_UNSUPPORTED). */
export function describeEncoder(config: PublishedConfig, names: ReadonlySet<string>): EncoderDescription {
  const family = encoderFamilies.find((f) => f.matches(config));
  if (family) return family.describe(config, names);
  throw unknownType(config, encoderFamilies, families, "It is a language model: loadLanguageModel() takes it.");
}

type Named = readonly { name: string; matches(config: PublishedConfig): boolean }[];

function unknownType(config: PublishedConfig, wanted: Named, others: Named, hint: string): InputError {
  const names = wanted.map((f) => f.name).join(", ");
  return new InputError(expected(`one of ${names}`, `${config.path} model_type`, config.values.model_type), {
    code: "MODEL_TYPE_UNKNOWN",
    hint: others.some((f) => f.matches(config)) ? hint : "This architecture is not implemented.",
  });
}

export type { EncoderDescription, EncoderFamily, Extent } from "./encoder-family.js";
export type { Block, CausalDescription, DescribeOptions, Family } from "./family.js";
