export { checkLaws, type LawResult } from "./laws.js";
export { lawLayouts, lawStack } from "./table.js";
