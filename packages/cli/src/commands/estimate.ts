import type { Estimate } from "krait";
import { bytes, count, duration } from "../format.js";
import type { Command } from "../main.js";
import { loadSdk } from "../sdk.js";
import { openSources } from "./encode.js";
import { parseEstimate } from "./encode-options.js";

/** `krait estimate`: what an encoding will take, before it runs. */
export const estimate: Command = async (argv, { signal, print }) => {
  const plan = parseEstimate(argv);
  const sdk = await loadSdk();
  const note = (text: string) => void (plan.quiet || process.stderr.write(`${text}\n`));
  const sources = await openSources(sdk, plan, note, signal);
  const { threads, dtype, chunkTokens, maxTokens } = plan.encoder;
  const options = { threads, dtype, chunkTokens, maxTokens, compare: plan.compare, signal };
  const result = await sdk.estimate(plan.model, sources, options);
  // JSON has no undefined: a duration that nobody knows is null.
  print(plan.json ? `${JSON.stringify({ ...result, seconds: result.seconds ?? null })}\n` : summary(result));
  return 0;
};

function summary({ tokens, exact, byModality, seconds, peakBytes, memory, comparison }: Estimate): string {
  const kinds = Object.entries(byModality).filter(([, number]) => number > 0);
  const parts = Object.entries(memory).map(([name, size]) => `${bytes(size)} ${name}`);
  return [
    `tokens    ${exact ? "" : "about "}${count(tokens)}: ${kinds.map(([name, n]) => `${count(n)} ${name}`).join(", ")}`,
    `media     ${seconds === undefined ? "of unknown length" : duration(seconds)}`,
    `memory    ${bytes(peakBytes)}, however long the media: ${parts.join(", ")}`,
    ...(comparison ? ["", ...table(comparison)] : []),
    "",
  ].join("\n");
}

function table(comparison: NonNullable<Estimate["comparison"]>): string[] {
  const rows = comparison.map((row) => [count(row.tokens), bytes(row.stateBytes), bytes(row.keyValueBytes)]);
  return [["tokens", "state of this model", "keys and values of attention alone"], ...rows].map((cells) =>
    cells.map((cell, i) => cell.padStart([9, 21, 36][i]!)).join(""),
  );
}
