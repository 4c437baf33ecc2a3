export { type FeatureChunk, modalityCode } from "./binning.js";
export { ReportCollector } from "./collector.js";
export type { AudioChunk } from "./envelope.js";
export type { CollectorOptions, ReportMeta } from "./meta.js";
export type { Cue } from "./passages.js";
export type { VideoFrame } from "./thumbnails.js";
