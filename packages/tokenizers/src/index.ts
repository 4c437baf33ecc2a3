export * from "./sequence/index.js";
