export { FrameStream, type FrameStreamOptions } from "./frame-stream.js";
export { astDefinition, type KaldiOptions, kaldiDefinition, seamlessDefinition } from "./kaldi.js";
export { createLogMel, LogMel, type LogMelOptions, logMelOptionsSchema } from "./log-mel.js";
export { logMelParameters, logMelProgram, spanOf } from "./log-mel-program.js";
export { LogMelStream, type LogMelStreamOptions } from "./log-mel-stream.js";
export { hertzToMel, melFilterbank, melToHertz } from "./mel-weights.js";
export type { MelNormalization, NormalizationMode, RowStatistics } from "./normalization.js";
export {
  type MelOptions,
  melDefinition,
  type ParakeetOptions,
  parakeetDefinition,
  whisperDefinition,
} from "./slaney.js";
export {
  type AudioPayload,
  type AudioSamples,
  type AudioTokenOptions,
  audioTokenSource,
  predictAudioTokens,
} from "./source.js";
export {
  createSpectral,
  type SpectralDefinition,
  SpectralFrontEnd,
  type SpectralOptions,
  type SpectralStreamOptions,
} from "./spectral.js";
