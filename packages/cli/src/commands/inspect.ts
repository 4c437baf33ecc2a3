import { stat } from "node:fs/promises";
import type { EncoderReport, FeatureEncoderReport, FeatureReport, ModelReport } from "krait";
import { help, numberOption, parseArguments } from "../arguments.js";
import { oneLine, UsageFault } from "../fault.js";
import { bytes, count, duration } from "../format.js";
import type { Command } from "../main.js";
import { loadSdk } from "../sdk.js";

/** `krait inspect`: what a published model is and takes, or what a feature file holds. */
export const inspect: Command = async (argv, { print, signal }) => {
  const parsed = parseArguments("inspect", argv, { json: {}, context: { value: true } });
  const { options, operands } = parsed;
  const [folder] = operands;
  if (folder === undefined || operands.length > 1) {
    throw new UsageFault(
      `Expected one model folder or feature file for krait inspect but received ${operands.length === 0 ? "none" : operands.length}`,
      "OPERANDS",
      help("inspect"),
    );
  }
  const contextTokens = numberOption(parsed, "context", { min: 1, max: 2 ** 20, integer: true });
  const sdk = await loadSdk();
  const json = options.has("json");
  // What is not there goes to the models, whose error says what a folder must hold.
  const isFile = await stat(folder).then(
    (found) => found.isFile(),
    () =>
      stat(`${folder}.partial`)
        .then((found) => found.isFile())
        .catch(() => false),
  );
  if (isFile) {
    const report = await sdk.inspectFeatures(folder, { signal });
    print(json ? `${JSON.stringify(report)}\n` : describeFeatures(folder, report));
    return 0;
  }
  const context = contextTokens === undefined ? {} : { contextTokens };
  const own = await sdk.inspectEncoder(folder, context);
  if (own) {
    print(
      json ? `${JSON.stringify({ kind: "model", tokens: null, dim: own.width, ...own })}\n` : describeOwn(folder, own),
    );
    return 0;
  }
  const encoder = await sdk.inspectFeatureEncoder(folder);
  if (encoder) {
    const { width: dim, ...rest } = encoder;
    print(json ? `${JSON.stringify({ kind: "model", dim, width: dim, ...rest })}\n` : describeEncoder(folder, encoder));
    return 0;
  }
  const report = await sdk.inspectModel(folder, context);
  print(
    json
      ? `${JSON.stringify({ kind: "model", tokens: null, dim: report.width, ...report })}\n`
      : describe(folder, report),
  );
  return 0;
};

/** What an encoder with a config of Krait's own is. */
function describeOwn(folder: string, report: EncoderReport): string {
  const { family, layout, width, inputs, classToken } = report;
  const place = {
    none: "",
    first: ", class token first",
    middle: ", class token in the middle",
    last: ", class token last",
  };
  return [
    oneLine(folder),
    `  ${family}: ${oneLine(layout)}; width ${count(width)}, takes ${inputs.join(", ")}${place[classToken]}`,
    ...sizes(report),
    "",
  ].join("\n");
}

function sizes(report: Pick<ModelReport, "parameters" | "bytes" | "stateBytes" | "contextTokens">): string[] {
  const { parameters, stateBytes, contextTokens } = report;
  const state =
    contextTokens === undefined ? "however long it grows" : `with ${count(contextTokens)} tokens of attention`;
  return [
    `  parameters  ${count(parameters)}`,
    `  weights     ${bytes(report.bytes.stored)} on disk; ${bytes(report.bytes.f32)} in f32, ${bytes(report.bytes.bf16)} in bf16`,
    `  state       ${bytes(stateBytes.f32)} per sequence in f32, ${bytes(stateBytes.bf16)} in bf16, ${state}`,
  ];
}

function describe(folder: string, report: ModelReport): string {
  const { family, width, vocabularySize, blocks, contextTokens, flopsPerToken } = report;
  const kinds = [...new Set(blocks)].map((kind) => `${blocks.filter((b) => b === kind).length} ${kind}`);
  return [
    oneLine(folder),
    `  ${family}: ${kinds.join(", ")}; width ${count(width)}, vocabulary ${count(vocabularySize)}`,
    ...sizes(report),
    `  compute     ${(flopsPerToken / 1e6).toPrecision(3)} MFLOP per token${contextTokens === undefined ? "" : " at full context"}`,
    "",
  ].join("\n");
}

function describeEncoder(folder: string, report: FeatureEncoderReport): string {
  const { family, width, blocks, parameters, input, tokens, classes, flopsPerClip } = report;
  return [
    oneLine(folder),
    `  ${family}: ${blocks.length} ${blocks[0]}; width ${count(width)}${classes > 0 ? `, ${count(classes)} classes` : ""}`,
    `  clip        ${input.map(count).join(" x ")} numbers, ${count(tokens)} tokens, run whole`,
    `  parameters  ${count(parameters)}`,
    `  weights     ${bytes(report.bytes.stored)} on disk; ${bytes(report.bytes.f32)} in f32, ${bytes(report.bytes.bf16)} in bf16`,
    `  compute     ${(flopsPerClip / 1e9).toPrecision(3)} GFLOP per clip`,
    "",
  ].join("\n");
}

function describeFeatures(
  path: string,
  { kind, tokens, dim, dtype, byModality, span, metadata }: FeatureReport,
): string {
  const kinds = Object.entries(byModality ?? {}).filter(([, number]) => number > 0);
  const model = metadata["model.name"];
  return [
    oneLine(path),
    `  ${kind === "partial" ? "unfinished" : "features  "}  ${count(tokens)} of ${count(dim)} numbers, ${dtype}`,
    ...(kinds.length > 0 ? [`  tokens      ${kinds.map(([name, n]) => `${count(n)} ${name}`).join(", ")}`] : []),
    ...(span ? [`  time        from ${duration(span.start)} to ${duration(span.end)}`] : []),
    ...(model !== undefined ? [`  model       ${oneLine(model)}`] : []),
    "",
  ].join("\n");
}
