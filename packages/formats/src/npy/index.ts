export { type NpyFile, openNpy } from "./reader.js";
export { createNpyWriter, npyBeside } from "./writer.js";
