export { type ClipFeatures, FeatureEncoder, type FeatureEncoderOptions } from "./feature-encoder.js";
export { type FeatureEncoderReport, inspectFeatureEncoder, loadFeatureEncoder } from "./load-encoder.js";
