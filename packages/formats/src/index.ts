export { openRegularFile, readAt, writeAt, writeAtomically } from "./files.js";
export * from "./json.js";
export * from "./npy/index.js";
export * from "./rows/index.js";
export * from "./safetensors/index.js";
export * from "./sha256.js";
export * from "./subtitles.js";
export * from "./utf8.js";
