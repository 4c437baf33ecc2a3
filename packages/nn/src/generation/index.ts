export { type CausalInput, CausalModel, type CausalModelOptions, tensorsOf } from "./causal-model.js";
export { type LoadCausalOptions, loadCausalModel } from "./load-model.js";
export { checkParity, largest, type ParityCase, type ParityOptions, type ParityReport } from "./parity.js";
