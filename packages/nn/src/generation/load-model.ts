import type { Device } from "@krait/runtime";
import { mapWeights, openModelFolder, readPublishedConfig } from "../checkpoints/index.js";
import { type CausalDescription, describeModel } from "../families/index.js";
import { CausalModel, type CausalModelOptions, tensorsOf } from "./causal-model.js";

export interface LoadCausalOptions extends CausalModelOptions {
  /** Tokens that attention layers keep keys and values for. */
  contextTokens?: number;
  /** Rounds weights to bf16 and computes in f32 all the same: what bf16 costs, on a device that only computes in f32. */
  roundWeights?: "bf16" | undefined;
}

/** What a folder's config.json describes, without its weights. Throws as `loadCausalModel`. */
export async function describeFolder(folder: string, contextTokens = 4096): Promise<CausalDescription> {
  const config = await readPublishedConfig(folder);
  const files = await openModelFolder(folder);
  try {
    return describeModel(config, { names: new Set(files.tensors.keys()), contextTokens });
  } finally {
    await files.close();
  }
}

/**
 * Loads a published causal model: config.json and safetensors, single or sharded, bf16, f16 or f32.
 *
 * @throws InputError (MODEL_NOT_FOUND, MODEL_TYPE_UNKNOWN, INVALID_CONFIG, CONFIG_UNSUPPORTED, PICKLE_REFUSED, TENSOR_*, WEIGHT_NOT_FINITE,
 * FILE_CHANGED)
 */
export async function loadCausalModel(
  device: Device,
  folder: string,
  { contextTokens = 4096, roundWeights, ...options }: LoadCausalOptions = {},
): Promise<CausalModel> {
  const config = await readPublishedConfig(folder);
  const files = await openModelFolder(folder);
  try {
    const description = describeModel(config, { names: new Set(files.tensors.keys()), contextTokens });
    const weights = await mapWeights(files, tensorsOf(description), {
      aliases: description.aliases,
      ignored: description.ignored,
      round: roundWeights,
    });
    return await CausalModel.create(device, description, weights, options);
  } finally {
    await files.close();
  }
}
