import type { MediaInfo } from "krait";
import { help, parseArguments } from "../arguments.js";
import { oneLine, UsageFault } from "../fault.js";
import { bytes, duration } from "../format.js";
import { type Input, inspectInput } from "../inputs.js";
import type { Command } from "../main.js";
import { loadSdk } from "../sdk.js";

/** `krait probe`: what a file holds. */
export const probe: Command = async (argv, { signal, print }) => {
  const { options, operands } = parseArguments("probe", argv, { json: {} });
  const [file] = operands;
  if (file === undefined || operands.length > 1) {
    throw new UsageFault(
      `Expected one file for krait probe but received ${operands.length === 0 ? "none" : operands.length}`,
      "OPERANDS",
      help("probe"),
    );
  }
  const found = await inspectInput(await loadSdk(), file, signal);
  if (!options.has("json")) print(describe(found));
  else print(`${JSON.stringify(found.kind === "media" ? found.info : { ...found, container: "text" })}\n`);
  return 0;
};

function describe(found: Input): string {
  if (found.kind !== "media") return `${oneLine(found.path)}\n  ${found.kind}, ${bytes(found.bytes)}\n`;
  const { path, container, durationSeconds, bytes: size, streams } = found.info;
  const facts = [container, durationSeconds !== undefined && duration(durationSeconds), bytes(size)].filter(Boolean);
  return `${oneLine(path)}\n  ${facts.join(", ")}\n${streams.map((stream) => `  ${describeStream(stream)}\n`).join("")}`;
}

function describeStream(stream: MediaInfo["streams"][number]): string {
  const {
    index,
    kind,
    codec,
    width,
    height,
    pixelFormat,
    averageFps,
    sampleRate,
    channels,
    startSeconds,
    durationSeconds,
  } = stream;
  const facts = [
    `${index}  ${kind.padEnd(8)} ${codec}`,
    width !== undefined && `${width}x${height}`,
    pixelFormat,
    averageFps !== undefined && `${Number(averageFps.toFixed(3))} frames/s`,
    stream.rotation !== undefined && `turned ${stream.rotation}°`,
    sampleRate !== undefined && `${sampleRate} Hz`,
    channels !== undefined && `${channels} channel${channels === 1 ? "" : "s"}`,
    stream.attachedPicture && "cover picture",
    startSeconds !== 0 && `starts at ${Number(startSeconds.toFixed(3))} s`,
    durationSeconds !== undefined && `lasts ${Number(durationSeconds.toFixed(3))} s`,
  ];
  return facts.filter(Boolean).join(", ");
}
