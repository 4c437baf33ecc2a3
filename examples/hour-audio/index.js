// Features of hours of sound for a transcriber, 25 per second, in flat memory; interrupted, it goes on where it stopped:
// node examples/hour-audio [FILE] [--out out/hour-audio.safetensors] [--json]
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { audio, encodeFile, loadEncoder } from "krait";
import { refuse } from "../plain-errors.mjs";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: "out/hour-audio.safetensors" },
    json: { type: "boolean", default: false },
  },
});
const [file = "out/demo/street.mkv"] = positionals;
if (!existsSync(file)) refuse("a file", "the sound", file, "Name one, or make the demo's clip: npm run demo");
const page = flags.out.replace(/(\.\w+)?$/, ".html");

/** An encoder of sound alone. No trained one exists yet: give loadEncoder() a folder when you have one. */
const config = {
  model_type: "krait_encoder",
  version: 1,
  inputs: { audio: { stack: 4 } }, // four mel frames of 10 ms to a feature
  sequence: { separators: false }, // a row per 40 ms of sound and nothing else
  stack: {
    width: 256,
    layout: "(M2 M2 M2 A)x2",
    mamba2: { stateSize: 64, headDim: 64 },
    attention: { heads: 4, keyHeads: 2, window: 512, sinks: 4 }, // 20 s back, and the beginning
  },
};

await mkdir(dirname(flags.out), { recursive: true });
const controller = new AbortController();
process.once("SIGINT", () => controller.abort());
const wipe = () => process.stderr.isTTY && process.stderr.write("\r\x1b[K");
const encoder = await loadEncoder({ seed: 0, config });
try {
  const { tokens, dim, mediaSeconds, elapsedSeconds, resumedTokens } = await encodeFile(encoder, [audio(file)], {
    out: flags.out,
    page,
    title: file,
    resume: true,
    signal: controller.signal,
    onProgress: ({ mediaSeconds: done, totalMediaSeconds: all }) =>
      process.stderr.isTTY && process.stderr.write(`\r${done.toFixed(0)} of ${all?.toFixed(0) ?? "?"} s `),
  });
  wipe();
  const megabytes = process.resourceUsage().maxRSS / 1024;
  const result = { out: flags.out, page, tokens, dim, mediaSeconds, elapsedSeconds, resumedTokens, megabytes };
  if (flags.json) console.log(JSON.stringify(result));
  else {
    console.log(`${tokens} features of ${dim} numbers in ${flags.out}, one per 40 ms; drawn in ${page}`);
    if (resumedTokens > 0) console.log(`${resumedTokens} of them were there from an interrupted run`);
    console.log(`${mediaSeconds.toFixed(1)} s in ${elapsedSeconds.toFixed(1)} s`);
    console.log(`${megabytes.toFixed(0)} MB of memory at most, however long the sound`);
  }
} catch (error) {
  wipe();
  throw error;
} finally {
  await encoder.close();
}
