export * from "./audio/index.js";
export * from "./onnx/index.js";
export * from "./presets/index.js";
export * from "./sequence/index.js";
export * from "./text/index.js";
export * from "./video/index.js";
export * from "./vision/index.js";
