export {
  type CausalInput,
  CausalModel,
  type CausalModelOptions,
  type RoutedLogits,
  routedLayers,
  tensorsOf,
} from "./causal-model.js";
export { type GeneratedToken, Generation, type GenerationOptions, type GenerationSnapshot } from "./generation.js";
export { type GoldenLayer, holdsLayer, readLayer } from "./golden-layer.js";
export { inspectModel, type ModelReport } from "./inspect.js";
export { type LoadCausalOptions, loadCausalModel } from "./load-model.js";
export { checkParity, type ParityCase, type ParityOptions, type ParityReport } from "./parity.js";
export { loadProjector, Projector, type ProjectorOptions, projectorParameters, projectorSchema } from "./projector.js";
export { Prompt, type PromptInput, type PromptPart, type SoftTokens } from "./prompt.js";
export { Sampler, type SamplingOptions, samplingSchema } from "./sampling.js";
