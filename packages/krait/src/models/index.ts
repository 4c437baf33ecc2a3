export {
  type ClipFeatures,
  type EncoderReport,
  type FeatureEncoderReport,
  type GenerationSnapshot,
  inspectEncoder,
  inspectFeatureEncoder,
  inspectModel,
  type ModelReport,
  type ParityReport,
} from "@krait/nn";
export { ClipEncoder, type LoadClipEncoderOptions, loadClipEncoder, type ReadClipOptions } from "./clip-encoder.js";
export {
  type GeneratedText,
  type GenerateOptions,
  LanguageModel,
  type LoadLanguageModelOptions,
  loadLanguageModel,
  type PromptSource,
  TextGeneration,
} from "./language-model.js";
export { parity } from "./parity.js";
