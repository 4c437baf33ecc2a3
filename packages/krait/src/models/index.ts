export { type GenerationSnapshot, inspectModel, type ModelReport, type ParityReport } from "@krait/nn";
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
