export { checkLaws, type LawResult, lawLayouts, lawStack } from "./laws.js";
