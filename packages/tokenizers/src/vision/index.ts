export { openDeviceResizer } from "./device-resize.js";
export { type FilterName, filterNames } from "./filters.js";
export { CutDetector, type EconomicFrame, economizeFrames, type FrameEconomyOptions } from "./frame-economy.js";
export { type CropPattern, cropBoxes, type Fit, fittedSize } from "./geometry.js";
export { type MergedPatches, type MergedPatchOptions, mergedPatches } from "./patches.js";
export { defaultImageSize, type ImagePreset, imagePreset, imagePresets } from "./presets.js";
export { ImageProcessor, type ImageProcessorOptions, type Picture, type PixelValues } from "./processor.js";
export {
  imageProcessorOptions,
  type PatchRows,
  readImageProcessorConfig,
  readImageProcessorOptions,
} from "./processor-config.js";
export { type Box, Resizer, type Size } from "./resize.js";
export { differenceOf, signatureOf } from "./signature.js";
export { economizeTokens, type KeptToken, type TokenEconomyOptions, type TokenMoment } from "./token-economy.js";
