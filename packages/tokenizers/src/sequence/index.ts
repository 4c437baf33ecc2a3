export * from "./class-token.js";
export * from "./columns.js";
export * from "./interleave.js";
export * from "./predict.js";
export * from "./types.js";
export { windowOf } from "./windows.js";
