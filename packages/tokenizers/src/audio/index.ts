export { createLogMel, LogMel, type LogMelOptions, logMelOptionsSchema } from "./log-mel.js";
export { logMelParameters, logMelProgram, spanOf } from "./log-mel-program.js";
export { LogMelStream, type LogMelStreamOptions } from "./log-mel-stream.js";
export { hertzToMel, melFilterbank, melToHertz } from "./mel-weights.js";
export {
  type AudioPayload,
  type AudioSamples,
  type AudioTokenOptions,
  audioTokenSource,
  predictAudioTokens,
} from "./source.js";
