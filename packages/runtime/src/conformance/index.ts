export {
  type CaseKit,
  type CaseTable,
  type CaseTensor,
  caseKit,
  defineCases,
  generator,
  type OpCase,
} from "./cases.js";
export {
  type Built,
  type CaseResult,
  commonBounds,
  loadCaseTables,
  type Placement,
  relativeRms,
  round,
  runCase,
  runOnDevice,
  tableCases,
  uncovered,
} from "./harness.js";
export { placeInFile } from "./place-in-file.js";
