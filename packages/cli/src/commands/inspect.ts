import type { ModelReport } from "krait";
import { help, numberOption, parseArguments } from "../arguments.js";
import { oneLine, UsageFault } from "../fault.js";
import { bytes, count } from "../format.js";
import type { Command } from "../main.js";
import { loadSdk } from "../sdk.js";

/** `krait inspect`: what a published model is and takes, from its config and headers alone. */
export const inspect: Command = async (argv, { print }) => {
  const parsed = parseArguments("inspect", argv, { json: {}, context: { value: true } });
  const { options, operands } = parsed;
  const [folder] = operands;
  if (folder === undefined || operands.length > 1) {
    throw new UsageFault(
      `Expected one model folder for krait inspect but received ${operands.length === 0 ? "none" : operands.length}`,
      "OPERANDS",
      help("inspect"),
    );
  }
  const contextTokens = numberOption(parsed, "context", { min: 1, max: 2 ** 20, integer: true });
  const report = await (await loadSdk()).inspectModel(folder, contextTokens === undefined ? {} : { contextTokens });
  print(options.has("json") ? `${JSON.stringify(report)}\n` : describe(folder, report));
  return 0;
};

function describe(folder: string, report: ModelReport): string {
  const { family, width, vocabularySize, blocks, parameters, stateBytes, contextTokens, flopsPerToken } = report;
  const kinds = [...new Set(blocks)].map((kind) => `${blocks.filter((b) => b === kind).length} ${kind}`);
  const state =
    contextTokens === undefined ? "however long it grows" : `with ${count(contextTokens)} tokens of attention`;
  return [
    oneLine(folder),
    `  ${family}: ${kinds.join(", ")}; width ${count(width)}, vocabulary ${count(vocabularySize)}`,
    `  parameters  ${count(parameters)}`,
    `  weights     ${bytes(report.bytes.stored)} on disk; ${bytes(report.bytes.f32)} in f32, ${bytes(report.bytes.bf16)} in bf16`,
    `  state       ${bytes(stateBytes.f32)} per sequence in f32, ${bytes(stateBytes.bf16)} in bf16, ${state}`,
    `  compute     ${(flopsPerToken / 1e6).toPrecision(3)} MFLOP per token${contextTokens === undefined ? "" : " at full context"}`,
    "",
  ].join("\n");
}
