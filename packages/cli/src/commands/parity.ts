import type { ParityReport } from "krait";
import { choiceOption, help, numberOption, parseArguments } from "../arguments.js";
import { UsageFault } from "../fault.js";
import type { Command } from "../main.js";
import { loadSdk } from "../sdk.js";

/** `krait parity`: a published model against the outputs of its reference implementation. */
export const parity: Command = async (argv, { signal, print }) => {
  const parsed = parseArguments("parity", argv, {
    json: {},
    bound: { value: true },
    dtype: { value: true },
    device: { value: true },
    threads: { value: true },
    layer: { value: true },
  });
  const { options, operands } = parsed;
  // The golden file of a layer stands alone.
  const [folder, golden = folder] = operands;
  if (folder === undefined || golden === undefined || operands.length > 2) {
    throw new UsageFault(
      `Expected a model folder and a golden file, or that of a layer, for krait parity but received ${operands.length} names`,
      "OPERANDS",
      help("parity"),
    );
  }
  const bound = numberOption(parsed, "bound", { above: 0 });
  const dtype = choiceOption(parsed, "dtype", ["f32", "bf16"]);
  const device = choiceOption(parsed, "device", ["auto", "cpu", "cuda"]);
  const threads = numberOption(parsed, "threads", { min: 1, max: 1024, integer: true });
  const layer = options.get("layer");
  const report = await (await loadSdk()).parity(folder, golden, {
    ...(bound !== undefined && { bound }),
    ...(dtype !== undefined && { dtype }),
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
    ...(layer !== undefined && { layer: layerOptions(layer) }),
    signal,
  });
  print(options.has("json") ? `${JSON.stringify(report)}\n` : describe(report));
  return report.ok ? 0 : 3;
};

function layerOptions(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {}
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new UsageFault(
    `Expected a JSON object for --layer but received ${text}`,
    "INVALID_OPTION",
    "For example --layer '{\"groups\":2}'.",
  );
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

function describe(report: ParityReport): string {
  const { family, dtype, bound, cases, greedy, greedyEqual, maxRelRms, flippedShare, ok } = report;
  const lines = [`${family} in ${dtype}, bound ${bound}`];
  for (const { name, sequences, tokens, relRms, ok: fits, relRmsFree, flippedShare: turned } of cases) {
    const size = `${sequences} x ${tokens} token${tokens === 1 ? "" : "s"}`;
    const free =
      relRmsFree === undefined || turned === undefined
        ? ""
        : `, ${relRmsFree.toExponential(2)} without replay, ${percent(turned)} of choices flipped`;
    lines.push(
      `  ${name.padEnd(8)} ${size.padEnd(18)} relative RMS ${relRms.toExponential(2)}${fits ? "" : "  too large"}${free}`,
    );
  }
  if (flippedShare !== undefined) {
    lines.push(
      `  experts  as the model chooses in f32; by itself it chooses others for ${percent(flippedShare)} of tokens x layers`,
    );
  }
  if (greedy) {
    const first = greedy.expected.findIndex((id, i) => id !== greedy.received[i]);
    lines.push(
      `  greedy   ${greedyEqual ? `${greedy.expected.length} tokens equal` : `differs from token ${first} on`}`,
    );
  }
  lines.push(
    `${ok ? "equal to the reference" : "NOT equal to the reference"}, largest error ${maxRelRms.toExponential(2)}`,
    "",
  );
  return lines.join("\n");
}
