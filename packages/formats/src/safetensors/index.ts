export type { StoredDType } from "./dtypes.js";
export type { TensorEntry } from "./header.js";
export * from "./reader.js";
export { createSafetensorsWriter } from "./stream-writer.js";
export * from "./write.js";
