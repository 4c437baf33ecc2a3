export {
  type Checkpoint,
  type EncoderReport,
  encoderParameters,
  inspectEncoder,
  openCheckpoint,
  saveCheckpoint,
} from "./checkpoint.js";
export * from "./checkpoints/index.js";
export {
  audioInputSchema,
  type InputsConfig,
  inputsSchema,
  modalityRows,
  patchesPerTubelet,
  textInputSchema,
  videoInputSchema,
} from "./embeddings.js";
export {
  attentionBytesPerToken,
  type ClassToken,
  type EncoderChunk,
  type EncoderConfig,
  type EncoderConfigInput,
  EncoderModel,
  encoderConfigSchema,
  hasClassToken,
  parseEncoderConfig,
  planEncoderMemory,
} from "./encoder.js";
export * from "./encoders/index.js";
export * from "./families/index.js";
export * from "./generation/index.js";
export * from "./layers/index.js";
export { parseLayout } from "./layout.js";
export { Model, type ModelMemory, type ModelOptions } from "./model.js";
export { type Choices, countFlips, type Flips, type RoutedLayer } from "./routing.js";
export { Session, type Snapshot } from "./session.js";
export { type Blueprint, type SequenceContext, Stack, type StackOptions, stackSchema } from "./stack.js";
export { type RunSequences, StackModel, type StackModelOptions } from "./stack-model.js";
export { Subsampler, type SubsamplerOptions } from "./subsampler.js";
export { checkWeights, seededWeights, type WeightSource } from "./weights.js";
