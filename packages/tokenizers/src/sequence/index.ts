export * from "./columns.js";
export * from "./types.js";
