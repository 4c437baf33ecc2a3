export {
  AbortedError,
  EnvironmentError,
  InputError,
  InternalError,
  KraitError,
  type LimitsInput,
  type Progress,
  UsageError,
} from "@krait/core";
export { type ByteStream, type MediaInfo, type MediaInput, pipeOf, probe } from "@krait/media";
export type { EncoderConfig, EncoderConfigInput, Session, Snapshot } from "@krait/nn";
export { type DoctorReport, doctor } from "./doctor.js";
export * from "./download/index.js";
export { type EncodeFileOptions, type EncodeFileResult, encodeFile } from "./encode-file.js";
export {
  type EncodeOptions,
  Encoder,
  type LoadEncoderOptions,
  loadEncoder,
  type ModelChoice,
  type ModelIdentity,
} from "./encoder.js";
export { type Estimate, type EstimateOptions, estimate } from "./estimate.js";
export type { FeaturePart, Features, Token } from "./features.js";
export { type FeatureReport, inspectFeatures } from "./inspect-features.js";
export * from "./models/index.js";
export type { Taps } from "./pipeline.js";
export type { Pool } from "./pool.js";
export type { Prediction } from "./predict.js";
export { audio, image, type Source, subtitles, text, textFile, video } from "./sources.js";
export {
  type FrontEnd,
  frontEnds,
  type TokenizeFileOptions,
  type TokenizeFileResult,
  tokenizeFile,
} from "./tokenize/index.js";
export { version } from "./version.js";
