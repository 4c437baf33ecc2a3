export * from "./dtype.js";
export * from "./errors.js";
export * from "./limits.js";
export * from "./options.js";
export * from "./progress.js";
