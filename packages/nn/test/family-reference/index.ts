import { bambaModel, falconH1Model, graniteModel, jambaModel } from "./hybrid-families.js";
import { mamba2Model, mambaModel, mambaSsmModel } from "./mamba-families.js";
import type { Config, ReferenceModel } from "./model.js";
import { nemotronModel, zamba2Model } from "./other-families.js";

export type { Take } from "./mixers.js";
export { type Config, type Reference, type ReferenceModel, run } from "./model.js";

const builders: Readonly<Record<string, (config: Config) => ReferenceModel>> = {
  mamba: mambaModel,
  falcon_mamba: mambaModel,
  mamba2: mamba2Model,
  bamba: bambaModel,
  granitemoehybrid: graniteModel,
  falcon_h1: falconH1Model,
  nemotron_h: nemotronModel,
  jamba: jambaModel,
  zamba2: zamba2Model,
};

/** The published definition of a config's family, written anew in float64 loops; it shares no code with the packages. */
export function referenceOf(config: Config): ReferenceModel {
  const build = config.model_type === undefined ? mambaSsmModel : builders[config.model_type as string]!;
  return build(config);
}
