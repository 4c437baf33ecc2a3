export * from "./create.js";
export * from "./read-text.js";
export * from "./source.js";
export * from "./types.js";
