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
  type CaseResult,
  commonBounds,
  loadCaseTables,
  relativeRms,
  runCase,
  tableCases,
  uncovered,
} from "./harness.js";
