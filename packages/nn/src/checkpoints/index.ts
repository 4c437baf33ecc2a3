export {
  type LoadableWeights,
  type MappedOptions,
  type ModelTensor,
  mapWeights,
  type PlacedWeights,
  type TensorAlias,
  type TensorPart,
  type WeightPlacement,
} from "./mapped-weights.js";
export { type ModelFolder, openModelFolder, type StoredTensor } from "./model-folder.js";
export { asInput, invalidConfig, type PublishedConfig, parseConfig, readPublishedConfig } from "./read-config.js";
