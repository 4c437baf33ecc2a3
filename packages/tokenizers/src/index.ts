export * from "./sequence/index.js";
export * from "./text/index.js";
