export { hasPartial, openPartial, type PartialFile, partialTarget } from "./partial.js";
export type { RowTensor, RowWriter, RowWriterOptions } from "./row-writer.js";
