import { expected, InputError } from "@krait/core";
import type { PublishedConfig } from "../checkpoints/index.js";
import { bambaFamily } from "./bamba.js";
import { falconH1Family } from "./falcon-h1.js";
import type { CausalDescription, DescribeOptions, Family } from "./family.js";
import { graniteFamily } from "./granite-moe-hybrid.js";
import { jambaFamily } from "./jamba.js";
import { falconMambaFamily, mambaFamily } from "./mamba.js";
import { mambaSsmFamily } from "./mamba-ssm.js";
import { mamba2Family } from "./mamba2.js";
import { nemotronHFamily } from "./nemotron-h.js";
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
  const names = families.map((f) => f.name).join(", ");
  throw new InputError(expected(`one of ${names}`, `${config.path} model_type`, config.values.model_type), {
    code: "MODEL_TYPE_UNKNOWN",
    hint: "This architecture is not implemented.",
  });
}

export type { Block, CausalDescription, DescribeOptions, Family } from "./family.js";
