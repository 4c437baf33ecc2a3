import { basename } from "node:path";
import type { EncodeFileResult, Source } from "krait";
import { oneLine } from "../fault.js";
import { count, duration, ratio } from "../format.js";
import { inspectInput } from "../inputs.js";
import type { Command } from "../main.js";
import { checkOutputs } from "../outputs.js";
import { startProgress } from "../progress.js";
import { loadSdk, type Sdk } from "../sdk.js";
import { type EncodePlan, parseEncode } from "./encode-options.js";

/** `krait encode`: features of files into a file, with a page to look at. */
export const encode: Command = async (argv, { signal, print }) => {
  const plan = parseEncode(argv);
  const names = plan.inputs.map((input) => ("file" in input ? basename(input.file) : "text"));
  const first = `00:00:00 / --:--:--  reading ${oneLine(names.join(", "))}`;
  const progress = startProgress(first, { quiet: plan.quiet, out: process.stderr });
  try {
    await checkOutputs(plan);
    const sdk = await loadSdk();
    const sources = await openSources(sdk, plan, progress.note, signal);
    if (typeof plan.model !== "string") {
      progress.note(
        `note: no --model was given. The built-in encoder serves, whose weights are random numbers (seed ${plan.model.seed}): ` +
          "it has not been trained, so the features carry no learned meaning.",
      );
    }
    const encoder = await sdk.loadEncoder(plan.model, { ...plan.encoder, signal });
    try {
      const result = await sdk.encodeFile(encoder, sources, {
        out: plan.out,
        page: plan.page,
        title: names.join(", "),
        options: describeOptions(plan),
        ...(plan.pool !== undefined && { pool: plan.pool }),
        resume: plan.resume,
        checkpointSeconds: plan.checkpointSeconds,
        signal,
        onProgress: progress.update,
      });
      progress.close();
      const { name, random, sha256 } = encoder.model;
      const model = { name, random, sha256 };
      print(plan.json ? `${JSON.stringify({ ...result, model, device: encoder.device.kind })}\n` : summary(result));
      return 0;
    } finally {
      await encoder.close();
    }
  } finally {
    progress.close();
  }
};

/** What to encode, in the order given. Throws `InputError` where a file holds nothing that is wanted. */
export async function openSources(
  sdk: Sdk,
  plan: Pick<EncodePlan, "inputs" | "video" | "audio" | "sampling" | "speech" | "range" | "streams">,
  note: (text: string) => void,
  signal: AbortSignal,
): Promise<Source[]> {
  const sources: Source[] = [];
  for (const input of plan.inputs) {
    if ("text" in input) {
      sources.push(sdk.text(input.text, { name: "--text" }));
      continue;
    }
    const found = await inspectInput(sdk, input.file, signal);
    if (found.kind !== "media") {
      sources.push(found.kind === "text" ? sdk.textFile(input.file) : sdk.subtitles(input.file, plan.range));
      continue;
    }
    const { streams } = found.info;
    const has = (kind: string) => streams.some((stream) => stream.kind === kind && stream.codec !== "unknown");
    const before = sources.length;
    const { streams: chosen, range } = plan;
    if (plan.video && has("video"))
      sources.push(sdk.video(input.file, { ...plan.sampling, ...range, ...pick(chosen.video) }));
    if (plan.audio && has("audio")) {
      const speech = plan.speech && { speech: plan.speech };
      sources.push(sdk.audio(input.file, { ...range, ...speech, ...pick(chosen.audio) }));
    }
    if (plan.video && streams.every((stream) => stream.kind === "image")) sources.push(sdk.image(input.file));
    else if (streams.some((stream) => stream.attachedPicture)) {
      note(`note: the cover picture inside ${oneLine(input.file)} is left out.`);
    }
    if (sources.length === before) {
      const kinds = streams.map((stream) => `${stream.kind} (${stream.codec})`).join(", ");
      const wanted = [plan.video && "video", plan.audio && "audio"].filter(Boolean).join(" or ");
      throw new sdk.InputError(`Expected ${wanted} for ${input.file} but received ${kinds}`, {
        code: "NOTHING_TO_ENCODE",
        hint: "`krait probe` shows what the file holds; see also --no-video and --no-audio.",
      });
    }
  }
  return sources;
}

function pick(stream: number | undefined): { stream?: number } {
  return stream === undefined ? {} : { stream };
}

/** What was asked for, as it is stored with the features. */
function describeOptions({
  inputs,
  model,
  sampling,
  speech,
  range,
  streams,
  video,
  audio,
  encoder,
}: EncodePlan): Record<string, unknown> {
  return {
    inputs: inputs.map((input) => ("file" in input ? input.file : { text: input.text })),
    ...(typeof model === "string" ? { model } : model),
    ...sampling,
    ...(speech && { speech: speech.model }),
    ...range,
    ...(streams.video === undefined ? {} : { videoStream: streams.video }),
    ...(streams.audio === undefined ? {} : { audioStream: streams.audio }),
    ...(video ? {} : { video }),
    ...(audio ? {} : { audio }),
    ...encoder,
  };
}

function summary(result: EncodeFileResult): string {
  const { out, page, tokens, dim, byModality, mediaSeconds, elapsedSeconds, resumedTokens } = result;
  const kinds = Object.entries(byModality).filter(([, number]) => number > 0);
  const time =
    mediaSeconds > 0 ? `${duration(mediaSeconds)} of media in ${duration(elapsedSeconds)}` : duration(elapsedSeconds);
  const speed = mediaSeconds > 0 && elapsedSeconds > 0 ? ` (${ratio(mediaSeconds / elapsedSeconds)}x realtime)` : "";
  return [
    `features  ${out}`,
    ...(page === undefined ? [] : [`page      ${page}`]),
    `tokens    ${count(tokens)} of ${dim} numbers: ${kinds.map(([name, number]) => `${count(number)} ${name}`).join(", ")}`,
    `time      ${time}${speed}`,
    ...(resumedTokens > 0 ? [`resumed   behind ${count(resumedTokens)} tokens of an interrupted run`] : []),
    "",
  ].join("\n");
}
