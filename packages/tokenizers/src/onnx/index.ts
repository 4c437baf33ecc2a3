export { type OnnxChunk, type OnnxChunkOptions, OnnxChunkStream } from "./chunk-stream.js";
export { OnnxModel, type OnnxOptions, type OnnxRunOptions, OnnxSession, openOnnx } from "./model.js";
export { openSileroVad, SileroVad, VadStream, vadPeriod } from "./silero-vad.js";
export { gateSpeech, SpeechGate, type SpeechGateOptions, type SpeechPart } from "./speech-gate.js";
export type { OnnxData, OnnxDType, OnnxTensor, OnnxTensorSpec } from "./types.js";
export { openVisionTower, type TowerPart, VisionTower, type VisionTowerOptions } from "./vision-tower.js";
export { openWhisperEncoder, WhisperEncoder, type WhisperEncoderOptions, type WhisperPart } from "./whisper-encoder.js";
