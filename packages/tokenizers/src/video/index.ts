export { type PixelPreset, type PixelStatistics, pixelPresets, pixelScale } from "./pixel-scale.js";
export {
  predictVideoTokens,
  type VideoFrame,
  type VideoGrid,
  type VideoPayload,
  type VideoTokenOptions,
  videoTokenSource,
} from "./source.js";
