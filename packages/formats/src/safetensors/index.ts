export type { StoredDType } from "./dtypes.js";
export type { TensorEntry } from "./header.js";
export * from "./reader.js";
export * from "./stream-writer.js";
export * from "./write.js";
