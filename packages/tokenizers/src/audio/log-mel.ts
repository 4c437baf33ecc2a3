import { type Closable, parseOptions, UsageError } from "@krait/core";
import type { Device, DeviceBuffer, Program } from "@krait/runtime";
import { z } from "zod";
import type { FrameRun } from "./frame-stream.js";
import { logMelParameters, logMelProgram } from "./log-mel-program.js";
import { LogMelStream, type LogMelStreamOptions } from "./log-mel-stream.js";
import { MelNormalizer, normalizeMel } from "./mel-normalizer.js";
import { hopLength } from "./mel-weights.js";
import { checkSamples } from "./samples.js";

export const logMelOptionsSchema = z.strictObject({
  melBins: z.literal([80, 128], "80 or 128").default(80),
  /**
   * The maximum that the floor is measured from. `fixed`: a constant. `running`: the greatest value of all frames up to and
   * including the current one; it depends on what was heard before, never on how the samples are cut. `exact`: the greatest value
   * of the whole signal, as Whisper does; for whole signals only.
   */
  normalization: z.enum(["exact", "fixed", "running"]).default("fixed"),
  /** log10 mel power that `fixed` takes for the maximum. The default is Voxtral's. */
  fixedMax: z.number().min(-100).max(100).default(1.5),
  /** Frames of 10 ms per run: more is faster, fewer come sooner. */
  chunkFrames: z.number().int().min(2).max(4096).default(96),
});
export type LogMelOptions = z.input<typeof logMelOptionsSchema>;

/**
 * Whisper's log-mel spectrogram as a program on a device. Definition: openai/whisper, whisper/audio.py.
 *
 * Mono samples at 16 kHz, full scale ±1, to frames [n, melBins] of 10 ms, n = ⌊samples / 160⌋: periodic Hann of 400 samples
 * centred on each 160th, the signal mirrored at both ends, power spectrum, Slaney's mel triangles over 0–8000 Hz,
 * log10(max(·, 1e-10)), max(x, maximum − 8), (x + 4) / 4. Signals of fewer than 201 samples are mirrored repeatedly.
 */
export class LogMel implements Closable {
  /** @internal use createLogMel */
  constructor(
    readonly options: z.output<typeof logMelOptionsSchema>,
    private readonly program: Program,
    private readonly buffers: readonly DeviceBuffer[],
  ) {}

  /** Starts a signal that arrives in pieces. Streams of one LogMel may run side by side. Throws `UsageError` (EXACT_NEEDS_WHOLE_SIGNAL). */
  stream(options: LogMelStreamOptions = {}): LogMelStream {
    const { normalization, fixedMax, melBins, chunkFrames } = this.options;
    if (normalization === "exact") {
      throw new UsageError('Expected normalization "fixed" or "running" for a log-mel stream but received "exact"', {
        code: "EXACT_NEEDS_WHOLE_SIGNAL",
        hint: 'The maximum is known at the end only: use "fixed", or read the input twice and give the first pass\'s `peak` as fixedMax.',
      });
    }
    const normalizer = new MelNormalizer(melBins, normalization === "fixed" ? fixedMax : normalization);
    return new LogMelStream(melBins, this.run, chunkFrames, normalizer, options);
  }

  /** All frames [⌊samples / 160⌋, melBins] of a whole signal, equal to those of a stream to the bit. Throws as `LogMelStream.push`. */
  async transform(samples: Float32Array, options: LogMelStreamOptions = {}): Promise<Float32Array> {
    checkSamples(samples, options.start ?? 0);
    const { normalization, fixedMax, melBins, chunkFrames } = this.options;
    const rows = new Float32Array(Math.floor(samples.length / hopLength) * melBins);
    // For "exact" the frames stay as they are until the last has been seen.
    const max = normalization === "fixed" ? fixedMax : normalization === "running" ? "running" : "none";
    const normalizer = new MelNormalizer(melBins, max);
    const stream = new LogMelStream(melBins, this.run, chunkFrames, normalizer, options);
    const step = chunkFrames * hopLength;
    let filled = 0;
    const keep = (part: Float32Array) => {
      rows.set(part, filled);
      filled += part.length;
    };
    for (let at = 0; at < samples.length; at += step) keep(await stream.push(samples.subarray(at, at + step)));
    keep(await stream.finish());
    if (max === "none") normalizeMel(rows, normalizer.peak);
    return rows;
  }

  close(): void {
    this.program.close();
    for (const buffer of this.buffers) buffer.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private readonly run: FrameRun = async (signal, abort) => {
    const { logMel } = await this.program.run({
      symbols: { T: signal.length },
      inputs: { signal, cuSeqlens: Int32Array.of(0, signal.length) },
      signal: abort,
    });
    return logMel as Float32Array;
  };
}

/**
 * Loads the log-mel front end on a device. Close it when done.
 *
 * @throws UsageError (INVALID_OPTION), EnvironmentError (OUT_OF_MEMORY)
 */
export async function createLogMel(device: Device, given: LogMelOptions = {}): Promise<LogMel> {
  const options = parseOptions(logMelOptionsSchema, given, "createLogMel()");
  const graph = logMelProgram(options.melBins, options.chunkFrames);
  const buffers: Record<string, DeviceBuffer> = {};
  try {
    for (const [name, data] of Object.entries(logMelParameters(options.melBins))) {
      buffers[name] = await device.upload(data);
    }
    return new LogMel(options, await device.load(graph, { buffers }), Object.values(buffers));
  } catch (error) {
    for (const buffer of Object.values(buffers)) buffer.close();
    throw error;
  }
}
