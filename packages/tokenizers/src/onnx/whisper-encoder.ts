import { type Closable, expected, InputError, parseOptions } from "@krait/core";
import type { Device } from "@krait/runtime";
import { z } from "zod";
import { type AudioSamples, createSpectral, type SpectralFrontEnd, whisperDefinition } from "../audio/index.js";
import { pull } from "../pull.js";
import { type OnnxModel, openOnnx } from "./model.js";

const encoderSchema = z.strictObject({
  model: z.string().min(1),
  melBins: z.literal([80, 128], "80 or 128").default(80),
  /** Names in the model. */
  input: z.string().default("input_features"),
  output: z.string().default("last_hidden_state"),
  threads: z.number().int().min(1).max(1024).optional(),
  signal: z.instanceof(AbortSignal).optional(),
});
export type WhisperEncoderOptions = Omit<z.input<typeof encoderSchema>, "signal"> & {
  signal?: AbortSignal | undefined;
};

/** Whisper's window of 30 s: samples, mel frames and tokens of 20 ms. */
const window = { samples: 480_000, frames: 3000, tokens: 1500 };
const sampleRate = 16000;
const tokenSeconds = 0.02;

/** Features [tokens, dim] of at most 30 s; token i lies at [i, i + 1) · 20 ms behind `start`, and the last one ends with the sound. */
export interface WhisperPart {
  readonly features: Float32Array;
  readonly tokens: number;
  readonly dim: number;
  readonly start: number;
  readonly end: number;
}

/**
 * Opens the encoder of a Whisper model: log-mel [1, melBins, 3000] to [1, 1500, dim]. The log-mel runs on `device`.
 * Throws what `openOnnx` and `createSpectral` throw.
 */
export async function openWhisperEncoder(device: Device, given: WhisperEncoderOptions): Promise<WhisperEncoder> {
  const options = parseOptions(encoderSchema, given, "openWhisperEncoder()");
  const { model: path, melBins, input, output, threads, signal } = options;
  const model = await openOnnx({
    model: path,
    inputs: { [input]: { dtype: "f32", shape: [1, melBins, window.frames] } },
    outputs: { [output]: { dtype: "f32", shape: [1, window.tokens, "dim"] } },
    ...(threads !== undefined && { threads }),
    signal,
  });
  try {
    return new WhisperEncoder(model, await createSpectral(device, whisperDefinition(melBins)), input, output);
  } catch (error) {
    await model.close();
    throw error;
  }
}

export class WhisperEncoder implements Closable {
  /** @internal use openWhisperEncoder */
  constructor(
    private readonly model: OnnxModel,
    private readonly mel: SpectralFrontEnd,
    private readonly input: string,
    private readonly output: string,
  ) {}

  /**
   * Windows of 30 s, one after the other, as transformers cuts them: each has its own maximum, and zeros fill the last. Of the last only
   * the tokens over sound are kept. Memory is one window.
   *
   * The iteration throws `InputError` (SAMPLE_RATE_MISMATCH, SAMPLES_NOT_FINITE, ONNX_RUN_FAILED) and `AbortedError`.
   */
  async *encode(
    parts: AsyncIterable<AudioSamples>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<WhisperPart, void, undefined> {
    const samples = new Float32Array(window.samples);
    let filled = 0;
    let start: number | undefined;
    for await (const part of pull(parts, signal, "the Whisper encoder")) {
      checkRate(part.sampleRate);
      start ??= part.start;
      for (let at = 0; at < part.samples.length; ) {
        const count = Math.min(samples.length - filled, part.samples.length - at);
        samples.set(part.samples.subarray(at, at + count), filled);
        filled += count;
        at += count;
        if (filled < samples.length) continue;
        yield await this.run(samples, filled, start, signal);
        start += filled / sampleRate;
        filled = 0;
      }
    }
    if (filled === 0) return;
    samples.fill(0, filled);
    yield await this.run(samples, filled, start!, signal);
  }

  async close(): Promise<void> {
    this.mel.close();
    await this.model.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async run(samples: Float32Array, filled: number, start: number, signal: AbortSignal | undefined) {
    const rows = await this.mel.transform(samples, { start, signal });
    const { bins } = this.mel;
    const columns = new Float32Array(rows.length);
    for (let f = 0; f < window.frames; f++) {
      for (let b = 0; b < bins; b++) columns[b * window.frames + f] = rows[f * bins + b]!;
    }
    const results = await this.model.run(
      { [this.input]: { shape: [1, bins, window.frames], data: columns } },
      { signal },
    );
    const { shape, data } = results[this.output]!;
    const dim = shape[2]!;
    const tokens = Math.ceil(filled / (tokenSeconds * sampleRate));
    const features = (data as Float32Array).slice(0, tokens * dim);
    return { features, tokens, dim, start, end: start + filled / sampleRate };
  }
}

function checkRate(rate: number): void {
  if (rate === sampleRate) return;
  throw new InputError(expected(`${sampleRate} hertz`, "the sample rate of a part", rate), {
    code: "SAMPLE_RATE_MISMATCH",
    hint: "Decode with audio.sampleRate 16000.",
  });
}
