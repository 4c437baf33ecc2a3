export { type FilterName, filterNames } from "./filters.js";
export { type CropPattern, cropBoxes, type Fit, fittedSize } from "./geometry.js";
export { type MergedPatches, type MergedPatchOptions, mergedPatches } from "./patches.js";
export { defaultImageSize, type ImagePreset, imagePreset, imagePresets } from "./presets.js";
export { ImageProcessor, type ImageProcessorOptions, type Picture, type PixelValues } from "./processor.js";
export { imageProcessorOptions, readImageProcessorOptions } from "./processor-config.js";
export { type Box, Resizer, type Size } from "./resize.js";
